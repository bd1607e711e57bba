"""Layers that are hard to get right, as tars: what a pull of them shows is compared with what umoci unpacks."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

CAPABILITY = b"\x01\x00\x00\x02\x00\x04\x00\x00" + bytes(
    12
)  # cap_net_bind_service, effective (linux/capability.h)
TIME = 1_600_000_000


class TarMaker:
    """A pax archive that grows by one member a call; names and link targets are bytes."""

    def __init__(self, format: int = tarfile.PAX_FORMAT) -> None:
        self._buffer = io.BytesIO()
        self._tar = tarfile.open(  # noqa: SIM115 -- `bytes` closes it
            fileobj=self._buffer, mode="w", format=format, encoding="utf-8", errors="surrogateescape"
        )

    def add(
        self, name: bytes, data: bytes = b"", *, kind: bytes = tarfile.REGTYPE, mode: int = 0o644, uid: int = 0,
        gid: int = 0, mtime: float = TIME, link: bytes = b"", device: tuple[int, int] = (0, 0),
        xattrs: Mapping[str, bytes] | None = None,
    ) -> TarMaker:  # fmt: skip
        entry = tarfile.TarInfo(os.fsdecode(name))
        entry.type, entry.mode, entry.uid, entry.gid = kind, mode, uid, gid
        entry.mtime, entry.size, entry.linkname = mtime, len(data), os.fsdecode(link)
        entry.devmajor, entry.devminor = device
        entry.pax_headers = {
            f"SCHILY.xattr.{key}": value.decode("utf-8", "surrogateescape")
            for key, value in (xattrs or {}).items()
        }
        self._tar.addfile(entry, io.BytesIO(data))
        return self

    def directory(self, name: bytes, mode: int = 0o755, **more: int) -> TarMaker:
        return self.add(name, kind=tarfile.DIRTYPE, mode=mode, **more)  # type: ignore[arg-type]

    def bytes(self) -> bytes:
        self._tar.close()
        return self._buffer.getvalue()


def whiteouts() -> list[bytes]:
    low = TarMaker().directory(b"d").add(b"d/kept", b"1").add(b"d/gone", b"2").directory(b"d/sub")
    low.add(b"d/sub/x", b"3").directory(b"o").add(b"o/old", b"4").add(b"file", b"5").directory(b"swap")
    low.add(b"swap/in", b"6")
    top = (
        TarMaker().directory(b"d").add(b"d/.wh.gone").add(b"d/.wh.sub").directory(b"o").add(b"o/.wh..wh..opq")
    )
    top.add(b"o/new", b"7").add(b".wh.file").directory(b"file").add(b"file/now", b"a directory").add(
        b".wh.swap"
    )
    again = TarMaker().directory(b"d").add(b"d/gone", b"back").add(b"swap", b"now a file")
    return [low.bytes(), top.bytes(), again.bytes()]


def links() -> list[bytes]:
    low = TarMaker().directory(b"bin").add(b"bin/a", b"one inode", mode=0o755)
    low.add(b"bin/b", kind=tarfile.LNKTYPE, link=b"bin/a", mode=0o755)
    low.add(b"c", kind=tarfile.LNKTYPE, link=b"bin/b", mode=0o755)
    low.add(b"lib", kind=tarfile.SYMTYPE, link=b"bin").add(
        b"dangling", kind=tarfile.SYMTYPE, link=b"/no/where"
    )
    low.add(b"up", kind=tarfile.SYMTYPE, link=b"../../..", uid=3, gid=4)
    top = (
        TarMaker()
        .directory(b"bin")
        .add(b"bin/b", b"another inode")
        .add(b"long" * 40, kind=tarfile.SYMTYPE, link=b"x/" * 400)
    )
    return [low.bytes(), top.bytes()]


def implied() -> list[bytes]:
    """The second layer puts a file into a directory that it has no entry for."""
    low = TarMaker().directory(b"secret", 0o700, uid=7).add(b"secret/key", b"1")
    return [low.bytes(), TarMaker().add(b"secret/more", b"2").bytes()]


def owners() -> list[bytes]:
    made = TarMaker().directory(b"home", 0o1777).add(b"home/u", b"x", uid=1000, gid=100)
    made.add(b"su", b"suid", mode=0o4755).add(b"sg", b"sgid", mode=0o2755, gid=7).directory(
        b"g", 0o2775, gid=8
    )
    made.add(b"ping", b"caps", mode=0o755, xattrs={"security.capability": CAPABILITY})
    made.add(b"user", b"attr", xattrs={"user.note": b"text", "user.raw": b"\x01\xff\x00"})
    made.add(b"none", mode=0, uid=65534, gid=65534).add(b"big", uid=3_000_000_000, gid=2_100_000)
    made.add(b"dated", mtime=1_234_567_890.123456789).add(b"old", mtime=0).add(b"ancient", mtime=-86400)
    return [made.bytes()]


def devices() -> list[bytes]:
    made = TarMaker().directory(b"dev").add(b"dev/null", kind=tarfile.CHRTYPE, device=(1, 3), mode=0o666)
    made.add(b"dev/sda", kind=tarfile.BLKTYPE, device=(8, 0), mode=0o660, gid=6)
    made.add(b"dev/pipe", kind=tarfile.FIFOTYPE, mode=0o600).add(
        b"dev/high", kind=tarfile.CHRTYPE, device=(259, 70000)
    )
    return [made.bytes()]


def names() -> list[bytes]:
    """Not UTF-8, long, with control characters, with dots, and that look like whiteouts without being some."""
    made = TarMaker()
    for depth in range(1, 31):
        made.directory(b"/".join([b"deep"] * depth))
    made.add(b"latin-\xe9\xff", b"1").add("ünïcödé-✓".encode(), b"2").add(b"new\nline", b"3")
    made.add(b"x" * 255, b"4").add(b"/".join([b"deep"] * 30) + b"/end", b"5").add(b"..dots", b"6")
    made.add(b"./leading", b"7").add(b" blank ", b"8").add(b"back\\slash", b"9").add(b".whx", b"10")
    gnu = TarMaker(tarfile.GNU_FORMAT).add(b"gnu-" + b"y" * 200, b"11").add(b"raw-\x80", b"12")
    gnu.add(b"l", kind=tarfile.SYMTYPE, link=b"z" * 300)
    return [made.bytes(), gnu.bytes()]


def sparse(folder: Path) -> list[bytes]:
    """Files with holes, in both formats of GNU tar: umoci reads only that of pax."""
    place = folder / "sparse"
    place.mkdir()
    with (place / "holes").open("wb") as file:
        for offset in (0, 3 << 20, 9 << 20):
            file.seek(offset)
            file.write(b"data" * 1000)
        file.truncate(16 << 20)
    (place / "hole").touch()
    os.truncate(place / "hole", 1 << 20)
    os.utime(place, (TIME, TIME))
    command = ["tar", "--create", "--sparse", "--numeric-owner", "-C", str(place)]
    return [
        subprocess.run([*command, f"--format={format}", "."], check=True, capture_output=True).stdout
        for format in ("pax", "gnu")
    ]


def many(count: int = 30_000) -> list[bytes]:
    made = TarMaker(tarfile.GNU_FORMAT)
    for number in range(count):
        if number % 300 == 0:
            made.directory(b"d%d" % (number // 300))
        made.add(
            b"d%d/f%d" % (number // 300, number), b"%d\n" % number, mode=0o600 + number % 64, uid=number % 9
        )
    return [made.bytes()]


def all_of_them(folder: Path) -> dict[str, Sequence[bytes]]:
    """Name of an image -> its layers, the lowest first."""
    pax, gnu = sparse(folder)
    return {
        "whiteouts": whiteouts(),
        "links": links(),
        "implied": implied(),
        "owners": owners(),
        "devices": devices(),
        "names": names(),
        "sparse": [pax],
        "sparse-gnu": [gnu],
        "many": many(),
    }
