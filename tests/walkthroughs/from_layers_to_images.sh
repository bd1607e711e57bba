#!/bin/sh
# A container for one command; an image made by hand and one made by a recipe; an image of one file.
# shellcheck source=tests/walkthroughs/lib.sh
. "${0%/*}/lib.sh"

# --- what is not there is pulled, once
types '' 'Hello world' "imagetool run -ti --rm --network none debian echo 'Hello world'"
for line in "Unable to find image 'debian:latest' locally" 'latest: Pulling from library/debian' \
    '[0-9a-f]{12}: Pull complete' 'Digest: sha256:' 'Status: Downloaded newer image for debian:latest'; do
    printf '%s\n' "$printed" | grep -Eq -e "$line" || fail "no line matches $line" "$printed"
done
shows '^debian +latest' images
hides 'Pulling' run --rm --network none debian echo 'Hello world'
refuses "Container command 'python' not found or does not exist\\." run --rm --network none debian python -V

# --- by hand: a container is changed, and committed while it runs
it run -d -i --name work --network none debian sh
id=$(imagetool ps -q)
shows "^$id +debian +\"sh\" +.* ago +Up .* +work$" ps
[ "$(imagetool exec work hostname)" = "$id" ]
it exec work apt-get install -y python
shows '^sha256:[0-9a-f]{64}$' commit "$id"
made=$(printf '%s\n' "$printed" | cut -c8-19)
shows "^<none> +<none> +$made" images
it tag "$made" python-debian-manual
shows "^python-debian-manual +latest +$made" images
it rm -f work
shows '^Python 2.7.9' run --rm --network none python-debian-manual python -V

# --- by a recipe
mkdir build
cd build || exit
cat >Dockerfile <<'END'
FROM debian
RUN apt-get update && \
    apt-get install -y python
CMD ["/bin/bash"]
END
shows '^Successfully tagged python-debian-auto:latest$' build -t python-debian-auto .
printf '%s\n' "$printed" | grep -q '^Sending build context to ' || fail 'the context is not announced' "$printed"
shows '^Python 2.7.9' run --rm --network none python-debian-auto python -V

# --- from nothing
cp "$HELLO" hello
rm Dockerfile
printf 'FROM scratch\nADD hello /\nCMD ["/hello"]\n' >Dockerfile
shows '^Step 2/3 : ADD hello /$' build -t saluda .
size=$(stat -c %s hello)
[ "$(imagetool inspect -f '{{.Size}}' saluda)" -ge "$size" ]
shows '^Hello world!$' run --rm --network none saluda
