# ignore: dir/**|!dir/x|*/f
FROM scratch
COPY . /
