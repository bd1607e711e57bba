FROM base AS unused
RUN false
FROM base AS used
RUN echo used > /used
FROM used
RUN echo last > /last
