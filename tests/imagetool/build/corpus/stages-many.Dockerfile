FROM base AS a
ENV A=1
WORKDIR /a
RUN echo a > f
FROM a AS b
RUN echo b >> f
LABEL from=b
FROM base AS c
COPY --from=b /a/f /from-b
COPY --from=a /a/f /from-a
USER user
FROM c
CMD ["last"]
