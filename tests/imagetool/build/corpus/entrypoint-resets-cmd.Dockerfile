FROM base
ENTRYPOINT ["/x"]
