FROM base
CMD ["x"]
ENTRYPOINT []
