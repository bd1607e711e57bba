FROM base
CMD first
CMD ["second"]
