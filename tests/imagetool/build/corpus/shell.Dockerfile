FROM base
SHELL ["/bin/sh", "-x", "-c"]
RUN echo $- > /flags
CMD echo shell
ENTRYPOINT entry
