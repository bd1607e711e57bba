FROM base
ONBUILD RUN echo later > /later
ONBUILD COPY hello /
