FROM base
USER user
WORKDIR /home/user/made
USER root
WORKDIR /by-root
