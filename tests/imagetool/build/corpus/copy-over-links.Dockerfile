FROM base
RUN mkdir /real && ln -s real /to && touch /real/x && ln -s /etc/group /real/late
COPY dir /to
COPY dir/x /to/new
