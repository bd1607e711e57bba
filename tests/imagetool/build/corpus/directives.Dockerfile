# escape=`
# unknown=x
FROM base
COPY hello `
  /to/
RUN echo 'c:\x' > /a
ENV A="x`"y" B='q`' C=a` b
