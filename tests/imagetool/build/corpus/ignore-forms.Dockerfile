# ignore: /hello|./dir/sub/|other/|  b.txt  |# c.md||private/../long.txt
FROM scratch
COPY . /
