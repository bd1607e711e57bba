FROM base
RUN echo old > /real && ln -s /real /link
COPY hello /link
