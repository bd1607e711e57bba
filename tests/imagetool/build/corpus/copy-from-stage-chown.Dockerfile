FROM base AS one
RUN mkdir /out && touch /out/f && chown 7:8 /out/f
FROM base
COPY --from=one --chown=user /out /out
