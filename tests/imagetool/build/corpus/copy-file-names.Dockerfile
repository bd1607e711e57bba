FROM base
WORKDIR /w
COPY hello /a/./b/../c
COPY hello //double//slash
COPY ./dir/../hello ./x/
COPY /hello /rooted
COPY dir/./x /dot
COPY [ "hello", "script.sh", "json/" ]
