# escape=`
FROM base
RUN echo one `
  two > /out
ENV A=`$B C=\x
