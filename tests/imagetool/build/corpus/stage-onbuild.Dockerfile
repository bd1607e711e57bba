FROM base AS one
ONBUILD RUN echo triggered > /triggered
FROM one
RUN ls / > /list
