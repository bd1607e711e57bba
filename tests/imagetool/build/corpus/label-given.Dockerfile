# build: --label z=1 --label "sp=a b" --label q="quo\"te'" --label dollar='$PATH' --label e=
FROM base
LABEL z=0
