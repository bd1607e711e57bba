FROM base AS s
RUN mkdir -p /x/y && touch /x/y/f && ln -s x /lx && ln -s /x/y/f /x/lf && ln -s ../x/y /x/ly && ln -s /nowhere /x/dang
FROM base
COPY --from=s /lx/y/f /a
COPY --from=s /lx /b
COPY --from=s /x/lf /c
COPY --from=s /x/ly/f /d
COPY --from=s /x/l* /e/
