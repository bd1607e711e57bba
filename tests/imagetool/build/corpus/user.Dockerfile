FROM base
USER user
