FROM base
COPY empty /e
COPY withempty /w
