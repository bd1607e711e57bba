FROM base
ENTRYPOINT ["a", "b"] # a comment
RUN ["touch", "/x"] && touch /y
CMD ["c"] d
