FROM base
ENV OLD the old form  keeps   spaces
ENV A=1 B=two C="with space" D=with\ space E='single $A' F=
ENV G "quoted old"
