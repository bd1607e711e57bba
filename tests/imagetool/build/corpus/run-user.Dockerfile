FROM base
USER user
RUN id -u > /tmp/id; id -g >> /tmp/id; echo $HOME >> /tmp/id; touch /home/user/mine
USER 1234:50
RUN id -u > /tmp/id2; id -g >> /tmp/id2
USER root
RUN id -u > /tmp/id3
