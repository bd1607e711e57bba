FROM base
RUN mkdir /data && touch /data/before
VOLUME /data
