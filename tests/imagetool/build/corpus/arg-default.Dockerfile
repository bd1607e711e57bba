FROM base
ARG A=one
ARG B
ARG C=two D=three
RUN echo "$A-$B-$C-$D" > /out
ENV E=$A
