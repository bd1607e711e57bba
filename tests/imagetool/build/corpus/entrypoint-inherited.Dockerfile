FROM base AS a
ENTRYPOINT ["/e"]
CMD ["c"]
FROM a AS b
ENTRYPOINT ["/f"]
FROM b
CMD d
