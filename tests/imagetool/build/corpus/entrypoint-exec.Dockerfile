FROM base
ENTRYPOINT ["top", "-b"]
CMD ["-c"]
