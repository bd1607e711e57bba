# build: --target one
FROM base AS one
RUN echo one > /one
FROM base AS two
RUN false
