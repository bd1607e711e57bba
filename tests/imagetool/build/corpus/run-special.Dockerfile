FROM base
RUN mkfifo /pipe && chmod 640 /pipe && ln -s /nowhere /dangling && ln -s bin/sh /rel
RUN touch /a && ln /a /b && ln /a /tmp/c
