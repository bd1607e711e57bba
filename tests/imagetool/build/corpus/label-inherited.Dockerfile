# build: --label given=1 --label a=cli
FROM base AS one
LABEL a=1 b=1
FROM one
LABEL b=2
