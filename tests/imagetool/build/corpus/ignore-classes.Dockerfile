# ignore: di?|[a-b].txt|modes/[^es]*|links/*-*
FROM scratch
COPY . /
