FROM base
RUN for i in 1 2 3 4 5 6 7 8 9; do mkdir -p /heap/$i && echo $i > /heap/$i/f; done
RUN rm -r /heap/1 /heap/2 && mv /heap/3 /heap/1 && ln -s 4 /heap/2 && rm /heap/5/f && touch /heap/6/f && cp -a /heap/7 /heap/10
RUN rm -rf /heap/8 && echo file > /heap/8 && chmod 1770 /heap && chown -R 5:6 /heap/9
