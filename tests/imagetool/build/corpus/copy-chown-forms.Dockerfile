FROM base
COPY --chown=user: hello /a
COPY --chown=0:staff hello /b
COPY --chown=1000:staff dir /c
COPY --chown=user:1234 hello /d/e/f
ENV U=user
COPY --chown=$U hello /g
ARG UU=77
COPY --chown=${UU}:${UU} links /h
