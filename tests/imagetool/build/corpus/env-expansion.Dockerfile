FROM base
ENV A=one
ENV B=$A C=${A}two D=\$A E='$A' F="$A"
ENV G=${UNSET:-default} H=${A:-default} I=${A:+alternate} J=${UNSET:+alternate} K=${UNSET}
ENV L=${A:-$B} M=${UNSET:-${A}}
