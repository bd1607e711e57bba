FROM base
RUN echo one > /one && ls / > /list
RUN cd /tmp; pwd > where
RUN pwd > /where
