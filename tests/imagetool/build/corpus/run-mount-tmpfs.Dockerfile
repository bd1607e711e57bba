FROM base
RUN --mount=type=tmpfs,target=/scratch touch /scratch/gone && ls /scratch > /listed
