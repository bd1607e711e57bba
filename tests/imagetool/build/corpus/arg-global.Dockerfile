# build: --build-arg TAG=latest
ARG NAME=base
ARG TAG=missing
FROM ${NAME}:${TAG}
RUN echo "-$NAME-$TAG-" > /before
ARG NAME
ARG TAG=here
RUN echo "-$NAME-$TAG-" > /after
