FROM base
COPY hard /hard
