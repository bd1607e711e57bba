FROM base
COPY dir /
COPY other .
COPY hello /
COPY hello /.
COPY empty /tmp
