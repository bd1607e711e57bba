FROM base
RUN echo 1.2.3.4 x >> /etc/hosts; echo nameserver 1.1.1.1 > /etc/resolv.conf; echo me > /etc/hostname
RUN cat /etc/hostname > /o
