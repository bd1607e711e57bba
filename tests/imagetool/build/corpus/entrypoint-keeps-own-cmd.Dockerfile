FROM base
CMD ["mine"]
ENTRYPOINT ["/x"]
