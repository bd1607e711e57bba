FROM base:latest
