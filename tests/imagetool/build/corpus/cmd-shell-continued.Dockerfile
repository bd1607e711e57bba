FROM base
CMD   leading   spaces "and ' quotes" \
  continued && more
