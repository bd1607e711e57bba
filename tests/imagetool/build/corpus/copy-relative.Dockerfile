FROM base
WORKDIR /work
COPY hello .
COPY hello rel
COPY hello ./sub/
COPY ./hello ../up
