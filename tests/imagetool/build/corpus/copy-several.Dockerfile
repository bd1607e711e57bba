FROM base
COPY hello script.sh /to/
COPY dir hello /mixed/
COPY dir other /merged/
