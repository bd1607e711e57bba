FROM base
ARG SRC=hello
ENV DST=/to/there NAME=x
COPY $SRC $DST
COPY dir/${NAME} ${DST}-${UNSET:-too}/
COPY ["$SRC", "/json/$NAME"]
