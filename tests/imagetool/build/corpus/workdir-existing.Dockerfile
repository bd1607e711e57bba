FROM base
WORKDIR /home/user
WORKDIR ../..
COPY hello .
