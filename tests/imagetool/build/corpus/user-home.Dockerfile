FROM base
USER user
RUN id -u > /tmp/a; echo $HOME > /tmp/b
USER 0
RUN id -g > /tmp/c; echo $HOME > /tmp/d
USER 4242
RUN id -u > /tmp/e; id -g >> /tmp/e; echo $HOME > /tmp/f
