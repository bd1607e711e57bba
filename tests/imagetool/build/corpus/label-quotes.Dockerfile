FROM base
LABEL a.b-c/d="x" "k 1"=v2 'k2'='v 3' k3=a\
b
LABEL empty= e2="" 
LABEL dollar=$PATH lit='$PATH' esc=\$PATH
LABEL desc="This text \
that spans   lines"
