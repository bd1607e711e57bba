# shellcheck shell=sh
# Sourced by every walk-through: each step is shown as it is typed, and the first one that does not show what it
# should ends the script.
set -eu

step() { printf '\n$ imagetool %s\n' "$*" >&2; }

fail() {
    printf 'FAILED: %s\n%s\n' "$1" "$2" >&2
    exit 1
}

# it ARGUMENT...: must succeed
it() {
    step "$@"
    imagetool "$@"
}

# shows PATTERN ARGUMENT...: must succeed, and print a line that matches
shows() {
    wanted=$1
    shift
    step "$@"
    printed=$(imagetool "$@" 2>&1) || fail "it ended with $?" "$printed"
    printf '%s\n' "$printed"
    printf '%s\n' "$printed" | grep -Eq -e "$wanted" || fail "no line matches $wanted" "$printed"
}

# hides PATTERN ARGUMENT...: must succeed, and print no line that matches
hides() {
    wanted=$1
    shift
    step "$@"
    printed=$(imagetool "$@" 2>&1) || fail "it ended with $?" "$printed"
    if printf '%s\n' "$printed" | grep -Eq -e "$wanted"; then fail "a line matches $wanted" "$printed"; fi
}

# refuses PATTERN ARGUMENT...: must fail, and print a line that matches
refuses() {
    wanted=$1
    shift
    step "$@"
    if printed=$(imagetool "$@" 2>&1 </dev/null); then fail "it succeeded" "$printed"; fi
    printf '%s\n' "$printed"
    printf '%s\n' "$printed" | grep -Eq -e "$wanted" || fail "no line matches $wanted" "$printed"
}

# types TEXT PATTERN COMMAND: a whole command line on a terminal of its own, with something typed into it
types() {
    printf '\n$ %s\n' "$3" >&2
    printed=$( (sleep 1; printf '%b' "$1"; sleep 1) | script -qefc "$3" /dev/null) || fail "it ended with $?" "$printed"
    printf '%s\n' "$printed"
    printf '%s\n' "$printed" | grep -Eq -e "$2" || fail "no line matches $2" "$printed"
}

# fetches PATTERN URL: as a browser would, as soon as somebody listens
fetches() {
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        if printed=$(curl -fsS --max-time 5 "$2" 2>&1); then break; fi
        sleep 0.5
    done
    printf '%s\n' "$printed" | grep -Eq -e "$1" || fail "$2 does not show $1" "$printed"
}
