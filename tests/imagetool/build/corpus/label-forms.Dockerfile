FROM base
LABEL a=1 b="two words" c=with\ space
LABEL old form of a label
LABEL "quoted key"="value" multi="line \
continues"
LABEL com.example.x="it's \"quoted\""
LABEL a=2
