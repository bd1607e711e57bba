FROM base
RUN mkdir /o && touch /o/1 /o/2 && mkdir /o/d && touch /o/d/3
RUN rm -rf /o/d && mkdir /o/d && touch /o/d/4 && ln -s nothing /o/d/3
COPY hello /o/2
RUN rm /o/2 && mkdir /o/2 && touch /o/2/x
RUN rm -r /o/2 && echo f > /o/2
