FROM base AS s
RUN mkdir -p /o/d && mkfifo /o/p && ln -s d /o/l && touch /o/d/f && ln /o/d/f /o/hl && chmod 4755 /o/d/f && chmod 1777 /o/d && chmod 2755 /o && touch -d "2001-01-01 00:00" /o/d/f
FROM base
COPY --from=s /o /o
COPY --from=s /o/l /byl
COPY --from=s /o/p /pp
COPY --from=s /o/l/ /byl2/
COPY --from=s /o/d/f /ff
