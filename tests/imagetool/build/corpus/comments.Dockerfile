# first comment

# escape=`
#not a directive
FROM base
  # indented comment
RUN echo a \
  # inner
  b > /a
