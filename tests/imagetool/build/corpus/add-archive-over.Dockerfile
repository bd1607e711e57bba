FROM base
RUN mkdir -p /to/top && echo old > /to/top/f && echo kept > /to/top/kept
ADD archive.tar /to
