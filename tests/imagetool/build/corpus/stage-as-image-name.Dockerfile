FROM base AS base
RUN touch /x
FROM base
RUN ls / > /l
