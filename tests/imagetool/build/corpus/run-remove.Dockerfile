FROM base
RUN rm /etc/group && rm -r /home && rm /bin/head
RUN touch /x /y
RUN rm /x
RUN echo back > /x
