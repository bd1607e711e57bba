FROM base
RUN ln -s /usr/lib /link
WORKDIR /link/made
RUN touch here
