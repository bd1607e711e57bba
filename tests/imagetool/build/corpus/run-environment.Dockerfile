FROM base
ENV GREETING="hello world"
RUN echo "$GREETING $HOME" > /greeting
RUN GREETING=bye; echo $GREETING > /bye
RUN echo '$GREETING' "\$GREETING" > /literal
