ARG A=global
FROM base AS one
ARG A
RUN echo $A > /a
FROM one
RUN echo $A > /b
ARG A=local
RUN echo $A > /c
FROM base
COPY --from=1 /c /c
RUN echo "-$A-" > /d
