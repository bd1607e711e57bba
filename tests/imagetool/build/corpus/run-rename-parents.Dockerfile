FROM base
RUN mkdir -p /a/b/c && touch /a/b/c/f && chown -R user /a
RUN mv /a /z && mkdir /a && touch /a/n
RUN mv /z/b /a/b && rmdir /z
RUN rm -rf /a/b/c && mkdir /a/b/c && chmod 700 /a/b/c
