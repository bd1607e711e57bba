FROM base AS a
WORKDIR /x/y
FROM a
WORKDIR z
COPY hello .
COPY hello ./
COPY hello ../up
RUN pwd > p
