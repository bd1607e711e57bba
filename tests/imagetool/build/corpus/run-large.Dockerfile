FROM base
RUN head -c 3000000 /dev/zero > /zeros && head -c 300000 /bin/busybox > /part && truncate -s 1000000 /sparse || true
