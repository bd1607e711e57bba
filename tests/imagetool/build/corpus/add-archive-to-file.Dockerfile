FROM base
ADD archive.tar /etc
ADD archive.tar.bz2 /new/dir/
USER user
ADD archive.tar /home/user/x
