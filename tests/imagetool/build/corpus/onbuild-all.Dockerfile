FROM base AS a
ONBUILD ARG A=1
ONBUILD ENV B=$A
ONBUILD WORKDIR /ob
ONBUILD COPY hello .
ONBUILD RUN echo $A-$B > out
ONBUILD LABEL x=y
ONBUILD CMD ["z"]
ONBUILD USER user
FROM a AS b
RUN id -u > /tmp/u
FROM b
RUN echo "-$A-$B-" > /tmp/v
