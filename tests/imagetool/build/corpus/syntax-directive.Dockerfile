# syntax=docker/dockerfile:1
FROM base
RUN echo ok > /ok
