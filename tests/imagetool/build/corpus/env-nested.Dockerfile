FROM base
ENV A=x B=y
ENV C=${A:-${B}} D=${UN:-${A}${B}} E=${UN:-a:b} F=${UN:-a}b} G=${A:+${B}}
