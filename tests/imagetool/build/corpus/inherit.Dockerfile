FROM base AS one
ENV A=1
WORKDIR /w
USER user
EXPOSE 1
VOLUME /v
CMD ["c"]
LABEL l=1
STOPSIGNAL INT
FROM one
ENV B=2
RUN echo "$A $B" > /tmp/out
