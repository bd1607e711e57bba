FROM base
COPY --chmod=750 dir /e
