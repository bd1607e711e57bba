FROM base
SHELL ["/bin/sh", "-ec"]
RUN echo $0 > /a
CMD x
HEALTHCHECK CMD y
FROM base
SHELL ["/bin/sh", "-ec"]
ENTRYPOINT x
