# ignore: .dockerignore|*.tar*|secret*|with*
FROM scratch
COPY . /
