FROM base
RUN --mount=type=bind,source=dir,target=/mnt cat /mnt/x > /copied
RUN --mount=type=bind,target=/ctx ls /ctx/dir > /listed
