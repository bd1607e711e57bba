FROM base
ENV PATH=/mine:$PATH
ENV A=1
ENV A=2
RUN echo $PATH $A > /out
