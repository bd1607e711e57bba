FROM base
WORKDIR /a//b/./c/
RUN pwd > p
WORKDIR ..
WORKDIR "q r"
RUN pwd > /p2
WORKDIR ./x/
ADD hello .
WORKDIR /
RUN pwd > /p3
