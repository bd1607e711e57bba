# build: --build-arg A=cli --build-arg B=clib
FROM base AS one
ARG A=1
RUN echo "-$A-$B" > /a
FROM one
RUN echo "-$A-$B-" > /c
ARG B
RUN echo "-$A-$B-" > /d
