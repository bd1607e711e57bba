FROM base
RUN mkdir -m 700 /d && chown user /d && mkdir -m 777 /e && touch /e/x && chown user /e/x
COPY dir /d
COPY dir /e/
COPY private /d
