FROM base
WORKDIR /w
ADD archive.tar .
ADD archive.tar.gz sub
ADD archive.tar hello both/
ADD *.gz /globbed/
ADD --chmod=600 hello /moded
