#!/bin/sh
# Images in detail: layers, digests, platforms, filters, formats, tags, and a registry that wants a login.
# shellcheck source=tests/walkthroughs/lib.sh
. "${0%/*}/lib.sh"

# --- what an image is made of
it image pull ubuntu:latest
it image pull tomcat:latest
shows '"tomcat:latest"' image inspect tomcat:latest
shows '"Type": "layers"' image inspect tomcat:latest
# two layers of three files, three of two: six files each
[ "$(imagetool run --rm --network none six:two ls /files | wc -l)" -eq 6 ]
[ "$(imagetool run --rm --network none six:three ls /files | wc -l)" -eq 6 ]

# --- pulled by digest
it image pull alpine
shows '^REPOSITORY +TAG +DIGEST +IMAGE ID +CREATED +SIZE$' image ls --digests alpine
digest=$(imagetool image ls --digests --format '{{.Digest}}' alpine)
shows "$digest" image pull "alpine@$digest"

# --- the platform of this machine
shows "go version go1 linux/$ARCHITECTURE" container run --rm --network none golang go version

# --- lists, filtered and formatted
hides '^(ubuntu|tomcat)' image ls --filter dangling=true
it image prune -f
it create --name new --network none alpine true
it commit new newer
it rm new
shows '^newer' image ls --filter since=tomcat:latest
shows '^tomcat' image ls --filter before=newer
shows '^tomcat' image ls --filter label=service=web
shows '^[0-9.]+[kM]?B$' image ls --format '{{.Size}}'
shows '^ubuntu: latest: [0-9.]+[kM]?B$' image ls --format '{{.Repository}}: {{.Tag}}: {{.Size}}'
shows 'alpine' search "$REGISTRY/alpine"

# --- slips of the pen
refuses 'Error: .*lastest' image pull tomcat:lastest
refuses "unknown command '1s'" image 1s
refuses 'No such image: tomcato:latest' image tag tomcato:latest tomcat:dev

# --- a tag is a name, and no new image
it image tag tomcat:latest tomcat:dev
[ "$(imagetool image ls -q tomcat | sort -u | wc -l)" -eq 1 ]
it image tag tomcat:dev "$PRIVATE/tomcat:dev"
refuses 'Error: ' image push "$PRIVATE/tomcat:dev"
printf 'secret\n' | imagetool login -u me --password-stdin "$PRIVATE" | grep 'Login Succeeded'
shows '^dev: digest: sha256:[0-9a-f]{64} size: [0-9]+$' image push "$PRIVATE/tomcat:dev"
shows '^Untagged: tomcat:dev' image rm tomcat:dev
shows '^tomcat +latest' image ls

# --- what a container uses, running or not, stays
it image rm "$PRIVATE/tomcat:dev"
it run --name stopped --network none tomcat true
refuses 'conflict: unable to remove' image rm tomcat:latest
it rm stopped
it image prune -a -f
hides 'tomcat' image ls
