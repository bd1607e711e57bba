FROM base
COPY hello /etc/passwd
COPY dir /over
COPY other /over
RUN ln -s /etc /link
COPY hello /link/through
COPY hello /link/
