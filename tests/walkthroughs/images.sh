#!/bin/sh
# Images and the containers made of them: sizes, the RW layer, cp, and three versions of one service at once.
# shellcheck source=tests/walkthroughs/lib.sh
. "${0%/*}/lib.sh"

# --- looking after images
it pull ubuntu
shows '^ubuntu +latest +[0-9a-f]{12} +.* +[0-9.]+[kM]?B$' images
shows '"Entrypoint"' inspect ubuntu
shows "^REPOSITORY +TAG +IMAGE ID +CREATED +SIZE$" images

# --- a container has next to nothing of its own
types 'exit\n' '# ' 'imagetool run -it --name contenedor1 --network none ubuntu'
shows '^CONTAINER ID +IMAGE +COMMAND +CREATED +STATUS +PORTS +NAMES +SIZE$' ps -a -s
shows '"/bin/bash".*Exited \(0\).* contenedor1 +[0-9]+B \(virtual [0-9.]+MB\)$' ps -a -s
it start contenedor1
types 'echo 00000000000000000 > file.txt\nexit\n' '# ' 'imagetool attach contenedor1'
shows 'contenedor1 +18B \(virtual' ps -a -s

# --- and keeps its image from being removed
refuses 'conflict: unable to remove repository reference "ubuntu" \(must force\) - container [0-9a-f]{12} is using its referenced image [0-9a-f]{12}' rmi ubuntu

# --- files of a web server from outside
it run -d --name php -p "$PORT_A:80" php:8.3-apache
shows 'php +0B \(virtual' ps -a -s
printf '<?php\necho phpinfo();\n?>\n' >info.php
it cp info.php php:/var/www/html
shows 'php +25B \(virtual' ps -a -s
fetches 'phpinfo' "http://localhost:$PORT_A/info.php"
it rm -f php

# --- three versions, whose images share their layers
it run -d -p "$PORT_A:80" --name mediawiki1 mediawiki
shows 'Already exists' pull mediawiki:1.43
it run -d -p "$PORT_B:80" --name mediawiki2 mediawiki:1.43
it run -d -p "$PORT_C:80" --name mediawiki3 mediawiki:1.39
fetches 'MediaWiki latest' "http://localhost:$PORT_A/"
fetches 'MediaWiki 1.43' "http://localhost:$PORT_B/"
fetches 'MediaWiki 1.39' "http://localhost:$PORT_C/"
shows "0.0.0.0:$PORT_B->80/tcp +mediawiki2" ps

# --- without its containers an image can go
it rm -f mediawiki1 mediawiki2 mediawiki3
it rm contenedor1
shows '^Untagged: ubuntu:latest' rmi ubuntu
