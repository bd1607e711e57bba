FROM base AS one
CMD ["of-one"]
FROM one
ENTRYPOINT ["/x"]
