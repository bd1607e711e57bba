# ignore: hello|!hello|script.sh|!*.sh|*.txt|!a.txt|a.txt
FROM scratch
COPY . /
