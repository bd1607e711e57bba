# build: --build-arg V=given
FROM base
ARG V=default
ENV V=${V}-env
RUN echo $V > /out
ARG V=later
RUN echo $V > /out2
