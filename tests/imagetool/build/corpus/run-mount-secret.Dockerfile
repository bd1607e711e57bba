# build: --secret id=key,src=secret.txt
FROM base
RUN --mount=type=secret,id=key cat /run/secrets/key > /copied
RUN --mount=type=secret,id=key,target=/run/other cat /run/other > /copied2
