FROM base
ENV V=/vv
VOLUME $V ${V}/x
VOLUME ["$V", "/j k"]
VOLUME relative
RUN mkdir -p /later && touch /later/f
VOLUME /later
RUN touch /later/after
