"""The files that the Dockerfiles of the corpus copy, and the image that they start from."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
from pathlib import Path

from tests.support.oci import Layout, digest, dump

TIME = 1_600_000_000
APPLETS = (
    "sh ls cat echo mkdir rm ln touch chmod chown cp mv id env pwd printf mkfifo test head truncate rmdir true false"
)  # fmt: skip

FILES: dict[str, bytes] = {
    "hello": b"hello\n", "script.sh": b"#!/bin/sh\n", "secret.txt": b"secret\n", "a.txt": b"a", "b.txt": b"b",
    "long.txt": b"long", "c.md": b"c", "dir/x": b"x", "dir/sub/y": b"y", "dir/.dot": b"", "other/x": b"other",
    "other/sub/z": b"z", "with space": b"space", "arr[0].odd": b"odd", ".hidden": b"h", "private/f": b"f",
    "private/d/g": b"g", "modes/exec": b"", "modes/setuid": b"", "modes/none": b"", "links/real": b"real",
    "links/dir/f": b"f", "hard/a": b"hard", "withempty/f": b"", "notatar.gz": gzip.compress(b"text", mtime=0),
}  # fmt: skip
LINKS = {
    "links/to-file": "real", "links/to-dir": "dir", "links/dangling": "/nowhere", "links/absolute": "/links/real",
    "dir/link": "x",
}  # fmt: skip
MODES = {
    "private": 0o700, "private/d": 0o2750, "private/f": 0o600, "modes/exec": 0o755, "modes/setuid": 0o4755,
    "modes/none": 0, "dir/sub": 0o711, "script.sh": 0o775, "withempty/e": 0o700,
}  # fmt: skip


def write_context(root: Path, rules: str = "") -> Path:
    """With a .dockerignore of these rules, if there are any, and then without setuid and setgid bits."""
    for name in ("empty", "withempty/e"):
        (root / name).mkdir(parents=True)
    for name, data in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    for name, target in LINKS.items():
        (root / name).symlink_to(target)
    os.link(root / "hard/a", root / "hard/b")
    if rules:
        (root / ".dockerignore").write_text(rules)
    archive = _archive()
    for name, data in {
        "": archive,
        ".gz": gzip.compress(archive, mtime=0),
        ".bz2": bz2.compress(archive),
        ".xz": lzma.compress(archive),
    }.items():
        (root / f"archive.tar{name}").write_bytes(data)
    for path in [root, *root.rglob("*")]:
        if not path.is_symlink():
            mode = MODES.get(str(path.relative_to(root)), 0o755 if path.is_dir() else 0o644)
            path.chmod(mode & 0o1777 if rules else mode)
        os.utime(path, (TIME, TIME), follow_symlinks=False)
    return root


def write_base(layout: Path) -> None:
    """An OCI layout with the image `base`: busybox, accounts, and a link for /lib."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, mode in {
            "bin": 0o755, "dev": 0o755, "etc": 0o755, "home": 0o755, "home/user": 0o750, "proc": 0o755, "root": 0o700,
            "run": 0o755, "sys": 0o755, "tmp": 0o1777, "usr": 0o755, "usr/lib": 0o755,
        }.items():  # fmt: skip
            owner = 1000 if name == "home/user" else 0
            _add(tar, name, tarfile.DIRTYPE, mode, owner=owner)
        _add(tar, "bin/busybox", tarfile.REGTYPE, 0o755, Path("/bin/busybox").read_bytes())
        for name in APPLETS.split():
            _add(tar, f"bin/{name}", tarfile.SYMTYPE, 0o777, link="busybox")
        _add(tar, "lib", tarfile.SYMTYPE, 0o777, link="usr/lib")
        accounts = b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n"
        _add(tar, "etc/passwd", tarfile.REGTYPE, 0o644, accounts)
        _add(tar, "etc/hostname", tarfile.REGTYPE, 0o755)
        _add(tar, "etc/group", tarfile.REGTYPE, 0o644, b"root:x:0:\nuser:x:1000:\nstaff:x:50:user\n")
        for name in ("hosts", "resolv.conf"):
            _add(tar, f"etc/{name}", tarfile.REGTYPE, 0o644)
    made = Layout(layout)
    tar = out.getvalue()
    config = {
        "architecture": "amd64", "os": "linux", "created": "2024-05-01T12:00:00Z",
        "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/usr/bin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [digest(tar)]},
        "history": [{"created": "2024-05-01T12:00:00Z", "created_by": "base"}],  # buildah counts its rows
    }  # fmt: skip
    kind = "application/vnd.oci.image."
    rows = [made.blob(tar, f"{kind}layer.v1.tar")]
    body = {"schemaVersion": 2, "config": made.blob(dump(config), f"{kind}config.v1+json"), "layers": rows}
    made.tag("base", made.blob(dump(body), f"{kind}manifest.v1+json"))


def _archive() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        _add(tar, "top", tarfile.DIRTYPE, 0o711, owner=7)
        _add(tar, "top/f", tarfile.REGTYPE, 0o640, b"from the archive", owner=7)
        _add(tar, "top/link", tarfile.SYMTYPE, 0o777, link="f")
        _add(tar, "top/twin", tarfile.LNKTYPE, 0o640, link="top/f", owner=7)
        _add(tar, "setuid", tarfile.REGTYPE, 0o4755)
    return out.getvalue()


def _add(
    tar: tarfile.TarFile,
    name: str,
    kind: bytes,
    mode: int,
    data: bytes = b"",
    *,
    link: str = "",
    owner: int = 0,
) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.size, entry.linkname = kind, mode, len(data), link
    entry.mtime, entry.uid, entry.gid = TIME - 1, owner, owner
    tar.addfile(entry, io.BytesIO(data))
