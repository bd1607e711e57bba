FROM base
COPY hello /new
COPY hello /dir/
COPY hello /deep/er/path
COPY hello /etc
