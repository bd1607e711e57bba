# context: ignoring
FROM base
COPY . /all/
