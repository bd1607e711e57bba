# build: --build-arg A=given --build-arg B=too
FROM base
ARG A=one
ARG B
RUN echo "$A-$B" > /out
LABEL a=$A
