FROM base
COPY hello /x/y/z/
COPY --chown=user hello /p/q/r
