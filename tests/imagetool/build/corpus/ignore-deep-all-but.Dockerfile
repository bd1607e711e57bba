# ignore: **|!dir/sub/y
FROM scratch
COPY . /
