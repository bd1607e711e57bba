FROM base
RUN touch /s && chmod 4755 /s && mkdir /t && chmod 1777 /t && mkdir -m 0700 /p && touch /p/f && chmod 0 /p/f
RUN chown 1000:50 /s && chown user:staff /t && umask > /umask && touch /default && mkdir /defaultdir
