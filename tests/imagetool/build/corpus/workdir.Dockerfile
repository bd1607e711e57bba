FROM base
WORKDIR /a
WORKDIR b
WORKDIR c/../d
RUN pwd > here
WORKDIR /tmp
