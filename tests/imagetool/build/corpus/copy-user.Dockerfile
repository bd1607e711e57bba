FROM base
USER user
COPY hello /home/user/f
COPY dir /made-by-copy
