FROM base
RUN mkdir -p /r/s && ln -s r /l && ln -s /r/s /abs
WORKDIR /l/s/t
RUN touch f; pwd > p
WORKDIR /abs
COPY hello .
COPY hello /l/viafile
COPY dir /l/
COPY dir /abs
