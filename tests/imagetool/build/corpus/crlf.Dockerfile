FROM base
RUN echo one > /one
ENV A=b
