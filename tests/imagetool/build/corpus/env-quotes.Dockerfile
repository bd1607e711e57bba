FROM base
ENV a=b\ c d="e\"f" g='h"i' j="k'l" m=n\\o
ENV E1="\$HOME" E2='\$HOME' E3=\${HOME} E4="${HOME}" E5=$HOME E6=${HOMEX:-"quoted"} E7="a${X:+b}c"
ENV E8=a#b E9="a #b" E10=tab\	x E11= E12=""
ENV UNI=ñandú EMOJI="🙂"
ENV KEY.WITH.DOTS=1 a-b=2
ENV M=one\
two N=three
ENV P=$PATH:/x
