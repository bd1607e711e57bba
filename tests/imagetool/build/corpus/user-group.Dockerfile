FROM base
USER user:staff
