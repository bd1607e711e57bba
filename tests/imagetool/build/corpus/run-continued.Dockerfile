FROM base
RUN echo one \
    two \
# a comment in between
    three \

    four > /words
run echo lower > /lower
