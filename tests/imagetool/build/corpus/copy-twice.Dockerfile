FROM base
COPY hello hello /a/
COPY dir/x other/x /b/
COPY dir dir/x /c/
