# ignore: *|!hello|!dir/x
FROM scratch
COPY . /
