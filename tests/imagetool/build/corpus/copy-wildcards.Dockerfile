FROM base
COPY *.txt /star/
COPY ?.txt /question/
COPY [ab].txt /class/
COPY [^a].txt /negated/
COPY d*/x /nested/
COPY di? /dirs/
COPY hel* /one
