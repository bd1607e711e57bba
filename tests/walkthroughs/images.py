"""The images of the walk-throughs: small ones that run, under the names and in the shapes of well-known ones."""

from __future__ import annotations

import io
import struct
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from tests.support.oci import Layout

APT = b"""#!/bin/sh
# Stands where a package manager would; there is no network to take packages from.
words=
for word in "$@"; do
    case $word in -* | install | update) ;; *) words="$words $word" ;; esac
done
echo 'Reading package lists...'
[ "$words" ] || exit 0
echo "${words# }" >/var/lib/installed
case "$words" in *python*)
    printf '#!/bin/sh\\necho Python 2.7.9\\n' >/bin/python
    chmod 755 /bin/python
    ;;
esac
"""
WEB = ["httpd", "-f", "-p", "80", "-h", "/var/www/html"]


def tar(files: dict[str, bytes | str]) -> bytes:
    """A layer: bytes are a program or a file, str is where a link leads, a name that ends in / is a directory."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as out:
        for path, content in files.items():
            entry = tarfile.TarInfo(path.rstrip("/"))
            entry.mtime, entry.mode = 1_700_000_000, 0o755
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
            elif path.endswith("/"):
                entry.type = tarfile.DIRTYPE
            else:
                entry.size = len(content)
            out.addfile(entry, io.BytesIO(content if isinstance(content, bytes) else b""))
    return buffer.getvalue()


def system() -> bytes:
    """The static busybox under all its names, and a bash."""
    applets = subprocess.run(
        ["/bin/busybox", "--list"], capture_output=True, text=True, check=True
    ).stdout.split()
    return tar(
        {
            **dict.fromkeys(("bin/", "tmp/", "etc/", "var/lib/", "root/"), b""),
            "bin/busybox": Path("/bin/busybox").read_bytes(),
            "bin/bash": b'#!/bin/sh\nexec sh "$@"\n',
            "bin/apt-get": APT,
            **{f"bin/{name}": "busybox" for name in applets if name != "busybox"},
        }
    )


def named(name: str) -> bytes:
    return tar({"etc/os-release": f"ID={name}\n".encode()})


def web(name: str, text: str) -> list[bytes]:
    return [named(name), tar({"var/www/html/": b"", "var/www/html/index.html": f"{text}\n".encode()})]


def go(architecture: str) -> bytes:
    return tar({"bin/go": f"#!/bin/sh\necho go version go1 linux/{architecture}\n".encode()})


def files(*names: str) -> bytes:
    return tar({f"files/{name}": name.encode() for name in names})


def every(layout: Layout) -> dict[str, dict[str, Any]]:
    """Name in the registry -> manifest or index."""
    base = system()
    ubuntu = [base, named("ubuntu")]
    return {
        "library/debian:latest": layout.image([base, named("debian")], Cmd=["/bin/bash"]),
        "library/ubuntu:latest": layout.image(ubuntu, Cmd=["/bin/bash"]),
        "library/alpine:latest": layout.image([base, named("alpine")]),
        "library/php:8.3-apache": layout.image([base, *web("php", "It works!")], Cmd=WEB),
        "library/mediawiki:latest": layout.image([base, *web("mediawiki", "MediaWiki latest")], Cmd=WEB),
        "library/mediawiki:1.43": layout.image([base, *web("mediawiki", "MediaWiki 1.43")], Cmd=WEB),
        "library/mediawiki:1.39": layout.image([base, *web("mediawiki", "MediaWiki 1.39")], Cmd=WEB),
        "library/httpd:2.4": layout.image([*ubuntu, web("httpd", "It works!")[1]], Cmd=WEB),
        "library/tomcat:latest": layout.image([base, named("tomcat")], Labels={"service": "web"}),
        "library/six:two": layout.image([base, files("a", "b", "c"), files("d", "e", "f")]),
        "library/six:three": layout.image([base, files("a", "b"), files("c", "d"), files("e", "f")]),
        "library/golang:latest": layout.index(
            *(layout.image([base, go(name)], architecture=name) for name in ("arm64", "amd64"))
        ),
        "quay/pqsdev/mssql-tools:master": layout.image([tar({"opt/mssql-tools": b"tools"})]),
    }


def hello() -> bytes:
    """A static program for Linux on x86-64 that says "Hello world!": one segment, two system calls."""
    text = b"Hello world!\n"
    code = (
        b"\xb8\x01\0\0\0\xbf\x01\0\0\0\x48\x8d\x35\x10\0\0\0\xba" + struct.pack("<I", len(text))
        + b"\x0f\x05\xb8\x3c\0\0\0\x31\xff\x0f\x05"
    )  # fmt: skip
    start, size = 0x400000, 64 + 56 + len(code) + len(text)
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack(
        "<HHIQQQIHHHHHH", 2, 62, 1, start + 120, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )  # fmt: skip
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, start, start, size, size, 4096)
    return head + segment + code + text
