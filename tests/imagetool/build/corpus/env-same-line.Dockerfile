FROM base
ENV X=before
ENV X=after Y=$X
ENV Z=$X
