FROM base
RUN mkdir /d && echo 1 > /d/f
RUN echo 2 > /d/f && touch /d/g
RUN rm /d/g && chmod 700 /d
COPY hello /d/f
RUN rm -r /d && mkdir /d && touch /d/last
