FROM base AS one
ARG A=in-one
RUN echo "-$A-" > /a
FROM one
RUN echo "-$A-" > /b
