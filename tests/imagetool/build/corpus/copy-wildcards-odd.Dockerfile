FROM scratch
COPY */x /several/
COPY d*/s*/ /nested/
COPY s[a-e]* [l-n]o*.txt /ranges/
COPY a\.txt /escaped/
COPY .h* /dots/
COPY d*/* /all/
COPY *ir /contents/
