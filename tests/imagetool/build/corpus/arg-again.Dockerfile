FROM base AS one
ARG A=1
ARG A
RUN echo "-$A-" > /a
ARG B
ARG B=2
RUN echo "-$B-" > /b
FROM one AS two
ARG A
RUN echo "-$A-" > /c
ARG A=3
RUN echo "-$A-" > /d
ENV E=$A-$B
FROM two
ARG B=9
LABEL l=$A-$B
WORKDIR /w-$A
