FROM base
COPY ["with space", "/with space"]
COPY ["with space", "/to/"]
COPY .hidden /
