"""The override_stat value: what others write is read, what we write reads back, the rest is refused."""

from __future__ import annotations

import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unionfs.model import Attr
from unionfs.override import NAMES, Override, apply, parse, render

FILE = Attr(5, 7, 8, 1, 2, 3, 4, 5, 6, stat.S_IFREG | 0o600, 1, 1000, 1000, 0, 4096)
KINDS = (stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK)
IDS = st.integers(0, 0xFFFFFFFE)
DEVICES = st.builds(os.makedev, st.integers(0, 0xFFF), st.integers(0, 0xFFFFF))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"0:0:755", Override(0, 0, 0o755)),
        (b"0:0:0755", Override(0, 0, 0o755)),
        (b"0:0:0755\0", Override(0, 0, 0o755)),
        (b"1000:5:4755:file", Override(1000, 5, 0o4755 | stat.S_IFREG)),
        (b"0:0:1777:dir", Override(0, 0, 0o1777 | stat.S_IFDIR)),
        (b"0:0:777:symlink", Override(0, 0, 0o777 | stat.S_IFLNK)),
        (b"0:0:644:pipe", Override(0, 0, 0o644 | stat.S_IFIFO)),
        (b"0:0:644:socket", Override(0, 0, 0o644 | stat.S_IFSOCK)),
        (b"0:6:660:block-8-1", Override(0, 6, 0o660 | stat.S_IFBLK, os.makedev(8, 1))),
        (b"0:5:666:char-1-3", Override(0, 5, 0o666 | stat.S_IFCHR, os.makedev(1, 3))),
    ],
)
def test_reads_what_containers_storage_writes(value: bytes, expected: Override) -> None:
    assert parse(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"0",
        b"0:0",
        b"0:0:",
        b"0:0:8",
        b"0:0:10000",
        b"-1:0:755",
        b"+1:0:755",
        b" 1:0:755",
        b"1_0:0:755",
        b"4294967295:0:755",
        b"0:4294967295:755",
        b"0:0:755:",
        b"0:0:755:fifo",
        b"0:0:755:file-1-2",
        b"0:0:755:char",
        b"0:0:755:char-1",
        b"0:0:755:char-1-2-3",
        b"0:0:755:char-4096-0",
        b"0:0:755:char-0-1048576",
        b"0:0:755:dir:more",
        b"\xb2:0:755",
        b"1" * 5000 + b":0:755",
    ],
)
def test_refuses_anything_else_and_names_it(value: bytes) -> None:
    with pytest.raises(ValueError, match="override_stat"):
        parse(value)


@given(IDS, IDS, st.integers(0, 0o7777), st.sampled_from((0, *KINDS)))
def test_what_is_rendered_reads_back(uid: int, gid: int, bits: int, kind: int) -> None:
    override = Override(uid, gid, kind | bits)
    assert parse(render(override)) == override


@given(IDS, IDS, st.integers(0, 0o7777), st.sampled_from((stat.S_IFBLK, stat.S_IFCHR)), DEVICES)
def test_devices_read_back(uid: int, gid: int, bits: int, kind: int, rdev: int) -> None:
    override = Override(uid, gid, kind | bits, rdev)
    assert parse(render(override)) == override


@given(st.binary(max_size=40))
def test_arbitrary_bytes_are_refused_or_read(value: bytes) -> None:
    try:
        override = parse(value)
    except ValueError:
        return
    assert parse(render(override)) == override


def test_without_a_type_the_file_keeps_its_own() -> None:
    assert apply(FILE, parse(b"7:8:4711")) == FILE._replace(uid=7, gid=8, mode=stat.S_IFREG | 0o4711)


def test_a_regular_file_can_stand_for_a_device() -> None:
    shown = apply(FILE, parse(b"0:5:666:char-1-3"))
    assert (shown.mode, shown.rdev, shown.uid, shown.gid) == (stat.S_IFCHR | 0o666, os.makedev(1, 3), 0, 5)
    assert shown.size == FILE.size


def test_names_follow_the_option() -> None:
    assert NAMES[1:] == (b"security.fuseoverlayfs.override_stat", b"user.containers.override_stat")
    assert not NAMES[0]
