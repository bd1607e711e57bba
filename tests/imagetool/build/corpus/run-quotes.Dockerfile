FROM base
RUN  echo   a    b  >  /a  # comment in line
RUN echo 'x\
y' > /b
RUN echo "\\n" '\n' > /c
RUN [ -f /a ] && echo yes > /d
RUN ["echo", "$HOME"]
RUN echo "$UNSET|$PATH|${PATH}" > /e
RUN cd / \
  && echo "1" \
  # c
  && echo 2 > /f
RUN echo $'a\tb' > /g ; true
