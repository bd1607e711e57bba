# build: --build-arg W=sub --build-arg P=8080
FROM base
ARG W=x
ARG P=1
ARG U=user
WORKDIR /$W/dir
EXPOSE $P
LABEL w=$W
VOLUME /v/$W
USER $U
COPY hello /to-$W/
STOPSIGNAL SIG${S:-INT}
