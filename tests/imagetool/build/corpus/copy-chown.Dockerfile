FROM base
COPY --chown=user hello /a
COPY --chown=user:staff dir /b
COPY --chown=12:34 dir /c/d
COPY --chown=1000 hello /e
COPY --chown=:50 hello /f
