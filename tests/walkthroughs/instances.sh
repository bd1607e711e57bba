#!/bin/sh
# Layers that are read-only, the one that is written to, and what containers are started for.
# shellcheck source=tests/walkthroughs/lib.sh
. "${0%/*}/lib.sh"

# --- images that share layers: those are stored once
it pull ubuntu
layers=$(find "$IMAGETOOL_ROOT/layers" -name layer.tar | wc -l)
it pull httpd:2.4
[ "$(find "$IMAGETOOL_ROOT/layers" -name layer.tar | wc -l)" -eq "$((layers + 1))" ]

# --- a container
types 'exit 130\n' '# ' 'imagetool run -it --name contenedor1 --network none ubuntu /bin/bash || true'
shows 'Exited \(130\) .* contenedor1 +0B \(virtual' ps -a -s
shows '^contenedor1$' start contenedor1
types 'echo 00000000000000000 > file.txt\ncat /etc/os-release\nexit\n' 'ID=ubuntu' 'imagetool attach contenedor1'
shows 'contenedor1 +18B \(virtual' ps -a -s

# --- copied up, never written below: the change is there after a restart, and in no other container
it start contenedor1
it exec contenedor1 sh -c 'echo changed >> /etc/os-release'
it restart -t 0 contenedor1
shows '^changed$' exec contenedor1 cat /etc/os-release
hides '^changed$' run --rm --network none ubuntu cat /etc/os-release
it rm -f contenedor1
hides 'contenedor1' ps -a

# --- a command of one's own, or the service that the image is for
shows '^Hello world$' run --rm --network none ubuntu /bin/echo 'Hello world'
it run -d --name my-apache-app -p "$PORT_A:80" httpd:2.4
fetches 'It works!' "http://localhost:$PORT_A/"
it rm -f my-apache-app
