FROM base
RUN rm -rf /home && mkdir /home && touch /home/new
RUN rm -rf /usr/lib && echo file > /usr/lib
