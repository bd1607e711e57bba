"""Modes, owners, umask, setuid and setgid, sticky directories, capabilities."""

import os
import shutil
import struct
import subprocess
from errno import EACCES, ENODATA, EPERM, ETXTBSY
from functools import partial
from pathlib import Path

from tests.conformance.kit import (
    ALICE,
    BOB,
    GROUP,
    Needs,
    as_user,
    behaviour,
    mode,
    opened,
    program,
    refuses,
    umask,
)

CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)  # cap_net_bind_service, effective


def _open_for_all(d: Path) -> None:
    d.chmod(0o777)


@behaviour()
def creation_modes_honour_the_umask(d: Path) -> None:
    for mask in (0o000, 0o022, 0o027, 0o777):
        with umask(mask):
            os.close(os.open(d / "f", os.O_CREAT | os.O_WRONLY, 0o666))
            os.mkdir(d / "d", 0o777)
            os.mkfifo(d / "p", 0o666)
        assert (mode(d / "f"), mode(d / "d"), mode(d / "p")) == (0o666 & ~mask, 0o777 & ~mask, 0o666 & ~mask)
        for name in ("f", "p"):
            (d / name).unlink()
        (d / "d").rmdir()


@behaviour()
def chmod_sets_every_permission_bit(d: Path) -> None:
    (d / "f").write_bytes(b"")
    (d / "d").mkdir()
    for bits in (0, 0o777, 0o1777, 0o400, 0o4711, 0o2755, 0o6755):
        (d / "f").chmod(bits)
        (d / "d").chmod(bits)
        assert (mode(d / "f"), mode(d / "d")) == (bits, bits)


@behaviour()
def fchmod_works_on_a_descriptor(d: Path) -> None:
    with opened(d / "f", os.O_CREAT | os.O_RDONLY) as fd:
        os.fchmod(fd, 0o604)
        assert os.fstat(fd).st_mode & 0o777 == 0o604
    assert mode(d / "f") == 0o604


@behaviour(needs=Needs.IDS)
def chown_sets_owner_and_group(d: Path) -> None:
    (d / "f").write_bytes(b"")
    os.chown(d / "f", ALICE, GROUP)
    info = (d / "f").stat()
    assert (info.st_uid, info.st_gid) == (ALICE, GROUP)
    os.chown(d / "f", -1, BOB)
    os.chown(d / "f", BOB, -1)
    info = (d / "f").stat()
    assert (info.st_uid, info.st_gid) == (BOB, BOB)


@behaviour(needs=Needs.IDS)
def new_files_belong_to_their_maker(d: Path) -> None:
    _open_for_all(d)

    def make() -> None:
        (d / "f").write_bytes(b"")
        (d / "d").mkdir()
        (d / "l").symlink_to("f")
        os.mkfifo(d / "p")

    as_user(make, ALICE, GROUP)
    for name in ("f", "d", "l", "p"):
        info = os.lstat(d / name)
        assert (info.st_uid, info.st_gid) == (ALICE, GROUP)


@behaviour(needs=Needs.IDS)
def chmod_by_others_is_eperm(d: Path) -> None:
    (d / "f").write_bytes(b"")
    (d / "f").chmod(0o666)

    def change() -> None:
        with refuses(EPERM):
            (d / "f").chmod(0o777)
        with refuses(EPERM):
            os.chown(d / "f", ALICE, -1)

    as_user(change)


@behaviour(needs=Needs.IDS)
def owner_may_give_a_file_to_own_groups_only(d: Path) -> None:
    (d / "f").write_bytes(b"")
    os.chown(d / "f", ALICE, ALICE)

    def give() -> None:
        os.chown(d / "f", -1, GROUP)
        with refuses(EPERM):
            os.chown(d / "f", -1, BOB)
        with refuses(EPERM):
            os.chown(d / "f", BOB, -1)

    as_user(give, ALICE, ALICE, GROUP)
    assert (d / "f").stat().st_gid == GROUP


@behaviour(needs=Needs.IDS)
def file_permissions_are_enforced(d: Path) -> None:
    (d / "f").write_bytes(b"x")
    for bits, uid, groups, allowed in (
        (0o600, ALICE, (), ""),
        (0o604, ALICE, (), "r"),
        (0o602, ALICE, (), "w"),
        (0o660, ALICE, (GROUP,), "rw"),
        (0o606, ALICE, (GROUP,), ""),  # the group's bits count for its members
        (0o066, 0, (), "rw"),  # root may all
    ):
        os.chown(d / "f", 0, GROUP)
        (d / "f").chmod(bits)
        as_user(partial(_access_is, d / "f", allowed), uid, uid, *groups)


def _access_is(path: Path, allowed: str) -> None:
    for letter, flags in (("r", os.O_RDONLY), ("w", os.O_WRONLY)):
        if letter in allowed:
            os.close(os.open(path, flags))
        else:
            with refuses(EACCES):
                os.open(path, flags)
        assert os.access(path, os.R_OK if letter == "r" else os.W_OK) == (letter in allowed)


@behaviour(needs=Needs.IDS)
def directory_permissions_are_enforced(d: Path) -> None:
    (d / "d").mkdir()
    (d / "d" / "f").write_bytes(b"x")

    def closed() -> None:
        with refuses(EACCES):
            os.listdir(d / "d")
        with refuses(EACCES):
            (d / "d" / "f").stat()

    def only_search() -> None:
        with refuses(EACCES):
            os.listdir(d / "d")
        assert (d / "d" / "f").read_bytes() == b"x"

    def only_list() -> None:
        assert os.listdir(d / "d") == ["f"]
        with refuses(EACCES):
            (d / "d" / "f").stat()

    for bits, look in ((0o700, closed), (0o711, only_search), (0o744, only_list)):
        (d / "d").chmod(bits)
        as_user(look)


@behaviour(needs=Needs.IDS)
def names_change_only_with_write_permission_on_the_directory(d: Path) -> None:
    (d / "d").mkdir()
    (d / "d" / "f").write_bytes(b"")
    (d / "d" / "f").chmod(0o666)

    def change() -> None:
        for action in (
            lambda: (d / "d" / "new").write_bytes(b""),
            lambda: (d / "d" / "new").mkdir(),
            lambda: (d / "d" / "f").unlink(),
            lambda: (d / "d" / "f").rename(d / "d" / "g"),
            lambda: os.link(d / "d" / "f", d / "d" / "g"),
        ):
            with refuses(EACCES, EPERM):
                action()

    as_user(change)
    assert os.listdir(d / "d") == ["f"]


@behaviour(needs=Needs.IDS)
def others_files_in_a_sticky_directory_stay(d: Path) -> None:
    d.chmod(0o1777)
    (d / "f").write_bytes(b"")
    (d / "sub").mkdir()

    def remove() -> None:
        (d / "mine").write_bytes(b"")
        with refuses(EPERM, EACCES):
            (d / "f").unlink()
        with refuses(EPERM, EACCES):
            (d / "sub").rmdir()
        with refuses(EPERM, EACCES):
            (d / "f").rename(d / "g")
        with refuses(EPERM, EACCES):
            (d / "mine").rename(d / "f")
        (d / "mine").unlink()

    as_user(remove)


@behaviour(needs=Needs.IDS)
def setgid_directory_passes_on_its_group(d: Path) -> None:
    os.chown(d, 0, GROUP)
    d.chmod(0o2777)

    def make() -> None:
        (d / "f").write_bytes(b"")
        (d / "d").mkdir()
        (d / "l").symlink_to("f")

    as_user(make)
    assert {os.lstat(d / name).st_gid for name in ("f", "d", "l")} == {GROUP}
    assert mode(d / "d") & 0o2000
    assert not mode(d / "f") & 0o2000


@behaviour(needs=Needs.IDS)
def setgid_file_cannot_be_made_for_a_foreign_group(d: Path) -> None:
    os.chown(d, 0, GROUP)
    d.chmod(0o2777)

    def make() -> None:
        with umask(0):
            os.close(os.open(d / "f", os.O_CREAT | os.O_WRONLY, 0o2775))

    as_user(make)
    assert mode(d / "f") == 0o775


@behaviour(needs=Needs.IDS)
def chmod_by_a_stranger_to_the_group_loses_setgid(d: Path) -> None:
    (d / "f").write_bytes(b"")
    os.chown(d / "f", ALICE, GROUP)
    as_user(lambda: (d / "f").chmod(0o2755))
    assert mode(d / "f") == 0o755
    as_user(lambda: (d / "f").chmod(0o2755), ALICE, ALICE, GROUP)
    assert mode(d / "f") == 0o2755


@behaviour(needs=Needs.IDS)
def write_by_a_user_clears_setuid_and_setgid(d: Path) -> None:
    (d / "f").write_bytes(b"abc")
    (d / "f").chmod(0o6777)

    def write() -> None:
        with opened(d / "f", os.O_WRONLY) as fd:
            os.write(fd, b"x")

    as_user(write)
    assert mode(d / "f") == 0o777


@behaviour(needs=Needs.IDS)
def truncate_by_a_user_clears_setuid_and_setgid(d: Path) -> None:
    (d / "f").write_bytes(b"abc")
    for shorten in (
        lambda: os.truncate(d / "f", 1),
        lambda: os.close(os.open(d / "f", os.O_WRONLY | os.O_TRUNC)),
    ):
        (d / "f").chmod(0o6777)
        as_user(shorten)
        assert mode(d / "f") == 0o777


@behaviour(needs=Needs.IDS)
def setgid_without_group_execute_survives_a_write(d: Path) -> None:
    (d / "f").write_bytes(b"abc")
    (d / "f").chmod(0o2766)
    os.chown(d / "f", ALICE, ALICE)
    (d / "f").chmod(0o2766)
    as_user(lambda: (d / "f").write_bytes(b"x"))
    assert mode(d / "f") == 0o2766


@behaviour(needs=Needs.IDS)
def chown_by_a_user_clears_setuid(d: Path) -> None:
    (d / "f").write_bytes(b"")
    os.chown(d / "f", ALICE, ALICE)
    (d / "f").chmod(0o6755)
    as_user(lambda: os.chown(d / "f", -1, GROUP), ALICE, ALICE, GROUP)
    assert mode(d / "f") == 0o755


@behaviour(needs=Needs.IDS)
def chown_by_root_clears_setuid(d: Path) -> None:
    (d / "f").write_bytes(b"")
    (d / "f").chmod(0o6755)
    os.chown(d / "f", ALICE, ALICE)
    assert mode(d / "f") == 0o755


@behaviour(needs=Needs.IDS)
def chown_to_nobody_clears_setuid(d: Path) -> None:
    (d / "f").write_bytes(b"")
    (d / "f").chmod(0o6755)
    os.chown(d / "f", -1, -1)
    assert mode(d / "f") == 0o755


@behaviour(needs=Needs.ROOT)
def write_clears_file_capabilities(d: Path) -> None:
    (d / "f").write_bytes(b"abc")
    (d / "f").chmod(0o777)
    os.setxattr(d / "f", "security.capability", CAPABILITY)
    assert os.getxattr(d / "f", "security.capability") == CAPABILITY
    as_user(lambda: (d / "f").write_bytes(b"x"))
    with refuses(ENODATA):
        os.getxattr(d / "f", "security.capability")


@behaviour(needs=Needs.ROOT)
def chown_clears_file_capabilities(d: Path) -> None:
    (d / "f").write_bytes(b"abc")
    os.setxattr(d / "f", "security.capability", CAPABILITY)
    os.chown(d / "f", ALICE, ALICE)
    with refuses(ENODATA):
        os.getxattr(d / "f", "security.capability")


@behaviour(needs=Needs.ROOT)
def setuid_program_runs_as_its_owner(d: Path) -> None:
    tool = program(d / "id")
    os.chown(tool, BOB, BOB)
    tool.chmod(0o6755)

    def run() -> None:
        said = subprocess.run([tool, "-u"], capture_output=True, text=True, check=True).stdout
        assert int(said) == BOB

    as_user(run)


@behaviour()
def programs_and_scripts_run(d: Path) -> None:
    tool = program(d / "echo", "/bin/echo")
    assert subprocess.run([tool, "hello"], capture_output=True, check=True).stdout == b"hello\n"
    (d / "script").write_text(f"#!/bin/sh\nexec {tool} from script\n")
    (d / "script").chmod(0o755)
    assert subprocess.run([d / "script"], capture_output=True, check=True).stdout == b"from script\n"


@behaviour()
def program_without_execute_permission_does_not_run(d: Path) -> None:
    program(d / "tool").chmod(0o644)
    with refuses(EACCES):
        subprocess.run([d / "tool"], check=True)


@behaviour()
def running_program_cannot_be_written(d: Path) -> None:
    tool = program(d / "sleep", "/bin/sleep")
    running = subprocess.Popen([tool, "60"])
    try:
        with refuses(ETXTBSY):
            os.open(tool, os.O_WRONLY)
        tool.unlink()
        shutil.copy("/bin/sleep", tool)
    finally:
        running.kill()
        running.wait()
