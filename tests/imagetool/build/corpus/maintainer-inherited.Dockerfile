FROM base AS a
MAINTAINER A "quoted" <a@b>
FROM a
USER user
