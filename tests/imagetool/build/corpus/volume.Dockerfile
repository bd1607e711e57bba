FROM base
VOLUME /data
VOLUME ["/json", "/two"]
VOLUME /a /b
