FROM base
COPY archive.tar.gz /to/
