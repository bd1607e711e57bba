# build: --build-arg A= --build-arg B
FROM base
ARG A=one
ARG B=two
RUN echo "-$A-${A:-colon}-${A-plain}-$B-" > /a
RUN env | test -z "" && (env | echo ${A+set}) > /b
