FROM base
RUN mkdir -p /d && touch /d/hello && ln -s /nowhere/file /dang && ln -s d /ld
COPY hello /d
COPY hello /ld
COPY dir /ld/
COPY hello /dang
