FROM base
RUN --mount=type=cache,target=/cache touch /cache/kept
RUN --mount=type=cache,target=/cache ls /cache > /listed
