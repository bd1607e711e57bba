# ignore: # a comment|*.txt|!b.txt|dir/*|!dir/sub|other|!other/sub/z|**/f|private|archive*|.hidden
FROM base
COPY . /all/
