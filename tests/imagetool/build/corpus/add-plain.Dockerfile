FROM base
ADD hello /a
ADD dir /b
ADD notatar.gz /c/
ADD *.txt /d/
