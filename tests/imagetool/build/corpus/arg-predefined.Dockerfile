# build: --build-arg http_proxy=http://x:1 --build-arg NO_PROXY=y
FROM base
RUN echo "-$http_proxy-$NO_PROXY-$no_proxy-" > /a
ENV E=$http_proxy
ARG NO_PROXY
ENV F=$NO_PROXY
