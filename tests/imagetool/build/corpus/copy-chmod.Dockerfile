FROM base
COPY --chmod=600 hello /a
COPY --chmod=0711 hello /b/c
COPY --chown=user --chmod=4755 hello /d
