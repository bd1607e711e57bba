FROM base AS one
RUN mkdir /out && echo 1 > /out/f && chown user:staff /out/f && chmod 600 /out/f && ln -s f /out/link && chown 7:8 /out
FROM base AS two
COPY --from=one /out /out
COPY --from=0 /out/f /f
COPY --from=one /out/link /followed
FROM scratch
COPY --from=two /out /out
COPY --from=two /f /f2
