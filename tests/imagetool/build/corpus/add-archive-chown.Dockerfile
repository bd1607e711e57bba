FROM base
ADD --chown=user archive.tar /to
