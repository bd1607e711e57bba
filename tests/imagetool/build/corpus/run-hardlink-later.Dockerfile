FROM base
RUN echo 1 > /a && ln /a /b
RUN echo 2 >> /b
RUN chmod 600 /a
