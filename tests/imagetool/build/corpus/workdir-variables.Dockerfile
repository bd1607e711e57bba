FROM base
ENV DIRPATH=/path
WORKDIR $DIRPATH/$DIRNAME
RUN pwd > /out
WORKDIR "/with space"
RUN pwd > /out2
