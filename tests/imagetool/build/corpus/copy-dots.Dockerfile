FROM base
COPY hello /a/.
COPY hello /b/./
COPY dir/. /c
COPY dir/./ /d/
COPY ./dir /e/.
COPY hello ./
COPY /dir/sub/.. /f/
COPY ../hello /g
COPY ../../dir/sub/../x /h
