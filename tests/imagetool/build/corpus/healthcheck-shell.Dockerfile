FROM base
HEALTHCHECK CMD test -f /x || exit 1
