FROM base
ADD --chmod=600 archive.tar /a
ADD archive.tar.gz archive.tar /b/
WORKDIR /w
ADD archive.tar.xz ./
COPY archive.tar .
