FROM base AS one
RUN echo from-one > /made
FROM base
RUN --mount=type=bind,from=one,source=/made,target=/mnt/made cat /mnt/made > /copied
