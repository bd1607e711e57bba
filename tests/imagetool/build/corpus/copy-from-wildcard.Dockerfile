FROM base AS one
RUN mkdir /out && touch /out/a.txt /out/b.txt /out/c.md
FROM scratch
COPY --from=one /out/*.txt /
