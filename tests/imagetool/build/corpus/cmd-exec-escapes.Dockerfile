FROM base
CMD ["a\tb", "ü", "\u00e9", "\\", "/", "a\/b"]
ENTRYPOINT [ ]
