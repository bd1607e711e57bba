FROM base
COPY dir /to
COPY dir/ /to2/
COPY dir /etc
COPY dir/sub /
