FROM base AS s
WORKDIR /src
RUN echo 1 > f
FROM base
WORKDIR /dst
COPY --from=s src/f .
COPY --from=s /src .
