# ignore: dir|!dir/sub|other/*|!other/sub
FROM scratch
COPY . /
