"""Files of the layers below: reading them, and changing them by copy-up."""

import fcntl
import mmap
import os
import stat
import subprocess
import time
from errno import EACCES, EAGAIN, ENODATA
from pathlib import Path

from tests.conformance.behaviours.permissions import CAPABILITY
from tests.conformance.kit import (
    ACL_ACCESS,
    ALICE,
    BOB,
    GROUP,
    GROUP_OBJ,
    KEEP_SIZE,
    MASK,
    OTHER,
    PUNCH_HOLE,
    USER,
    USER_OBJ,
    Needs,
    acl,
    as_user,
    behaviour,
    fallocate,
    mode,
    names,
    opened,
    refuses,
)
from tests.support.notation import LONG_AGO, device, directory, fifo, file, sparse, symlink

PAGE = 4096
DATA = bytes(range(256)) * 1500  # 384,000 bytes: several requests
ONE = [{"f": file(b"lower data", 0o640)}]
BIG = [{"f": file(DATA)}]
DEEP = [{"a/b/c/f": b"deep", "a": directory(0o751), "a/b": directory(0o711), "a/b/c": directory(0o755)}]
HOLE = [{"f": sparse(8 << 20, 4 << 20, b"data")}]


@behaviour(ONE)
def lower_file_is_read(d: Path) -> None:
    assert names(d) == ["f"]
    assert (d / "f").read_bytes() == b"lower data"


@behaviour(BIG)
def large_lower_file_is_read(d: Path) -> None:
    assert (d / "f").read_bytes() == DATA
    with opened(d / "f") as fd:
        assert os.pread(fd, 1000, 300_001) == DATA[300_001:301_001]
        assert os.pread(fd, 1000, len(DATA) - 10) == DATA[-10:]
        assert os.pread(fd, 10, len(DATA)) == b""


@behaviour([{"f": file(b"12345", 0o4711, uid=ALICE, gid=GROUP)}], needs=Needs.IDS)
def lower_file_has_its_attributes(d: Path) -> None:
    info = (d / "f").stat()
    assert (info.st_size, info.st_nlink, info.st_mtime_ns) == (5, 1, LONG_AGO)
    assert (info.st_uid, info.st_gid, info.st_mode) == (ALICE, GROUP, stat.S_IFREG | 0o4711)


@behaviour([{"e": b"", "d/sub": directory(0o700, mtime=5_000_000_007)}])
def lower_directory_has_its_attributes(d: Path) -> None:
    assert (d / "e").read_bytes() == b""
    info = (d / "d" / "sub").stat()
    assert (stat.S_IMODE(info.st_mode), info.st_mtime_ns) == (0o700, 5_000_000_007)


@behaviour(BIG)
def write_into_a_lower_file_keeps_the_rest(d: Path) -> None:
    with opened(d / "f", os.O_WRONLY) as fd:
        os.pwrite(fd, b"changed", 200_000)
    assert (d / "f").read_bytes() == DATA[:200_000] + b"changed" + DATA[200_007:]


@behaviour(BIG)
def append_to_a_lower_file(d: Path) -> None:
    with opened(d / "f", os.O_WRONLY | os.O_APPEND) as fd:
        os.write(fd, b"more")
    assert (d / "f").read_bytes() == DATA + b"more"


@behaviour(BIG)
def o_trunc_of_a_lower_file(d: Path) -> None:
    with opened(d / "f", os.O_RDWR | os.O_TRUNC) as fd:
        assert os.fstat(fd).st_size == 0
        os.write(fd, b"new")
    assert (d / "f").read_bytes() == b"new"


@behaviour(BIG)
def truncate_of_a_lower_file(d: Path) -> None:
    os.truncate(d / "f", 100_000)
    assert (d / "f").read_bytes() == DATA[:100_000]
    os.truncate(d / "f", 200_000)
    assert (d / "f").read_bytes() == DATA[:100_000] + bytes(100_000)


@behaviour(BIG)
def truncate_up_of_a_lower_file(d: Path) -> None:
    os.truncate(d / "f", len(DATA) + 5000)
    assert (d / "f").read_bytes() == DATA + bytes(5000)


@behaviour(BIG)
def chmod_of_a_lower_file_keeps_data_and_times(d: Path) -> None:
    before = (d / "f").stat()
    (d / "f").chmod(0o604)
    after = (d / "f").stat()
    assert mode(d / "f") == 0o604
    assert (after.st_mtime_ns, after.st_ino, after.st_size) == (LONG_AGO, before.st_ino, before.st_size)
    assert (d / "f").read_bytes() == DATA


@behaviour(ONE)
def chmod_of_a_lower_file_changes_ctime(d: Path) -> None:
    before = time.time_ns() - 10**9
    (d / "f").chmod(0o600)
    assert (d / "f").stat().st_ctime_ns > before


@behaviour([{"f": file(b"data", 0o6755), "d/g": b""}], needs=Needs.IDS)
def chown_of_lower_entries(d: Path) -> None:
    os.chown(d / "f", ALICE, GROUP)
    os.chown(d / "d", ALICE, GROUP)
    assert (d / "f").stat().st_uid == ALICE
    assert mode(d / "f") == 0o755
    assert (d / "d").stat().st_gid == GROUP
    assert names(d / "d") == ["g"]


@behaviour([{"f": b"data", "d/g": b"", "l": symlink("f")}])
def utime_of_lower_entries(d: Path) -> None:
    for name in ("f", "d", "l"):
        os.utime(d / name, ns=(11, 13), follow_symlinks=False)
        assert os.lstat(d / name).st_mtime_ns == 13
    assert (d / "f").stat().st_mtime_ns == 13
    assert (d / "f").read_bytes() == b"data"
    assert os.readlink(d / "l") == "f"
    assert names(d / "d") == ["g"]


@behaviour([{"f": file(DATA, xattrs={"user.a": b"lower", "user.b": b"\xff\0"})}])
def xattrs_of_a_lower_file_survive_copy_up(d: Path) -> None:
    assert sorted(os.listxattr(d / "f")) == ["user.a", "user.b"]
    assert os.getxattr(d / "f", "user.b") == b"\xff\0"
    os.setxattr(d / "f", "user.c", b"upper")
    os.removexattr(d / "f", "user.a")
    assert sorted(os.listxattr(d / "f")) == ["user.b", "user.c"]
    with opened(d / "f", os.O_WRONLY) as fd:
        os.write(fd, b"x")
    assert sorted(os.listxattr(d / "f")) == ["user.b", "user.c"]


@behaviour([{"d": directory(xattrs={"user.a": b"lower"}), "d/f": b""}])
def xattrs_of_a_lower_directory_survive_copy_up(d: Path) -> None:
    assert os.getxattr(d / "d", "user.a") == b"lower"
    (d / "d" / "new").write_bytes(b"")
    assert os.getxattr(d / "d", "user.a") == b"lower"
    os.setxattr(d / "d", "user.b", b"upper")
    assert sorted(os.listxattr(d / "d")) == ["user.a", "user.b"]


LOWER_ACL = acl((USER_OBJ, 6), (USER, 4, ALICE), (GROUP_OBJ, 0), (MASK, 4), (OTHER, 0))


@behaviour([{"f": file(b"data", 0o640, xattrs={ACL_ACCESS: LOWER_ACL})}], needs=Needs.ROOT)
def acl_of_a_lower_file_counts_and_survives_copy_up(d: Path) -> None:
    for _ in range(2):
        assert os.getxattr(d / "f", ACL_ACCESS) == LOWER_ACL
        as_user(lambda: (d / "f").read_bytes())
        with opened(d / "f", os.O_WRONLY) as fd:
            os.write(fd, b"DATA")
    as_user(lambda: _denied(d / "f"), BOB)


def _denied(path: Path) -> None:
    with refuses(EACCES):
        path.read_bytes()


@behaviour([{"f": file(b"data", 0o755, xattrs={"security.capability": CAPABILITY})}], needs=Needs.ROOT)
def capabilities_of_a_lower_file_survive_metadata_changes(d: Path) -> None:
    (d / "f").chmod(0o777)
    os.utime(d / "f", ns=(1, 2))
    assert os.getxattr(d / "f", "security.capability") == CAPABILITY
    with opened(d / "f", os.O_WRONLY) as fd:
        os.write(fd, b"x")
    with refuses(ENODATA):
        os.getxattr(d / "f", "security.capability")


@behaviour([{"f": file(b"data", 0o6777)}], needs=Needs.IDS)
def write_by_a_user_clears_setuid_of_a_lower_file(d: Path) -> None:
    def write() -> None:
        with opened(d / "f", os.O_WRONLY) as fd:
            os.write(fd, b"x")

    as_user(write)
    assert mode(d / "f") == 0o777
    assert (d / "f").read_bytes() == b"xata"


@behaviour([{"d": directory(0o555), "d/f": file(b"data", 0o444)}], needs=Needs.IDS)
def permissions_of_lower_entries_are_enforced(d: Path) -> None:
    def change() -> None:
        for action in (
            lambda: os.open(d / "d" / "f", os.O_WRONLY),
            lambda: (d / "d" / "new").write_bytes(b""),
            lambda: (d / "d" / "f").unlink(),
        ):
            with refuses(EACCES):
                action()

    as_user(change)
    assert (d / "d" / "f").read_bytes() == b"data"


@behaviour([{"f": file(b"data", 0o666)}, {}], needs=Needs.IDS)
def copy_up_by_a_user_keeps_the_owner(d: Path) -> None:
    as_user(lambda: (d / "f").write_bytes(b"by alice"))
    info = (d / "f").stat()
    assert (info.st_uid, info.st_gid) == (0, 0)
    assert (d / "f").read_bytes() == b"by alice"


@behaviour(DEEP)
def copy_up_keeps_the_attributes_of_the_parents(d: Path) -> None:
    (d / "a" / "b" / "c" / "f").write_bytes(b"changed")
    assert [mode(d / name) for name in ("a", "a/b", "a/b/c")] == [0o751, 0o711, 0o755]
    assert [(d / name).stat().st_mtime_ns for name in ("a", "a/b", "a/b/c")] == [LONG_AGO] * 3
    (d / "a" / "b" / "c" / "g").write_bytes(b"")
    assert [(d / name).stat().st_mtime_ns for name in ("a", "a/b")] == [LONG_AGO] * 2
    assert (d / "a" / "b" / "c").stat().st_mtime_ns > LONG_AGO


@behaviour([{"f": b"data", "g": b"more", "d/h": b"", "l": symlink("f"), "p": fifo()}])
def inode_numbers_stay_the_same_through_copy_up(d: Path) -> None:
    paths = [d / name for name in ("f", "g", "d", "d/h", "l", "p")]
    before = [os.lstat(path).st_ino for path in paths]
    for path in paths:
        os.utime(path, ns=(1, 1), follow_symlinks=False)
    with opened(d / "g", os.O_WRONLY) as fd:
        os.write(fd, b"x")
    assert [os.lstat(path).st_ino for path in paths] == before
    assert len(set(before)) == len(before)


@behaviour(ONE)
def reader_of_a_lower_file_sees_what_another_writes(d: Path) -> None:
    with opened(d / "f") as reader:
        assert os.pread(reader, 100, 0) == b"lower data"
        with opened(d / "f", os.O_WRONLY | os.O_TRUNC) as writer:
            os.write(writer, b"new")
            assert os.pread(reader, 100, 0) == b"new"
            assert os.fstat(reader).st_size == 3


@behaviour(ONE)
def descriptors_of_a_lower_file_are_one_inode(d: Path) -> None:
    with opened(d / "f") as reader, opened(d / "f", os.O_RDWR) as writer:
        os.write(writer, b"X")
        assert os.fstat(reader).st_ino == os.fstat(writer).st_ino == (d / "f").stat().st_ino
        assert os.fstat(reader).st_mtime_ns == os.fstat(writer).st_mtime_ns
        os.fchmod(reader, 0o600)
        assert mode(d / "f") == 0o600


@behaviour([{"f": file(b"a" * 2 * PAGE)}])
def map_of_a_lower_file_sees_what_another_writes(d: Path) -> None:
    with opened(d / "f") as fd, mmap.mmap(fd, 0, prot=mmap.PROT_READ) as view:
        assert view[0] == ord("a")
        with opened(d / "f", os.O_WRONLY) as writer:
            os.pwrite(writer, b"new", 0)
        assert view[:4] == b"newa"


@behaviour([{"f": file(b"a" * 2 * PAGE)}])
def shared_map_of_a_lower_file_is_written_back(d: Path) -> None:
    with opened(d / "f", os.O_RDWR) as fd, mmap.mmap(fd, 0) as view:
        view[PAGE : PAGE + 3] = b"new"
        view.flush()
    assert (d / "f").read_bytes() == b"a" * PAGE + b"new" + b"a" * (PAGE - 3)


@behaviour([{"f": file(b"a" * 2 * PAGE)}])
def private_map_of_a_lower_file_leaves_it(d: Path) -> None:
    how = mmap.PROT_READ | mmap.PROT_WRITE
    with opened(d / "f") as fd, mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE, prot=how) as view:
        view[:3] = b"new"
    assert (d / "f").read_bytes() == b"a" * 2 * PAGE


@behaviour(HOLE)
def holes_of_a_lower_file_are_found(d: Path) -> None:
    with opened(d / "f") as fd:
        assert os.fstat(fd).st_size == 8 << 20
        assert os.lseek(fd, 0, os.SEEK_DATA) == 4 << 20
        assert os.lseek(fd, 0, os.SEEK_HOLE) == 0
        assert os.pread(fd, 6, (4 << 20) - 1) == b"\0data\0"
    assert (d / "f").read_bytes().strip(b"\0") == b"data"


@behaviour(HOLE)
def holes_of_a_lower_file_survive_copy_up(d: Path) -> None:
    with opened(d / "f", os.O_RDWR) as fd:
        os.pwrite(fd, b"x", (8 << 20) - 1)
        os.fsync(fd)
        assert os.fstat(fd).st_blocks * 512 < 4 << 20
        assert os.pread(fd, 4, 4 << 20) == b"data"
        assert os.pread(fd, 1, (8 << 20) - 1) == b"x"


@behaviour([{"f": file(b"x" * 65_536 * 3)}])
def space_operations_on_a_lower_file(d: Path) -> None:
    with opened(d / "f", os.O_RDWR) as fd:
        fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 65_536, 65_536)
        fallocate(fd, 0, 0, 65_536 * 4)
    assert (d / "f").read_bytes() == b"x" * 65_536 + bytes(65_536) + b"x" * 65_536 + bytes(65_536)


@behaviour(BIG)
def lower_file_is_copied_in_the_kernel(d: Path) -> None:
    with opened(d / "f") as source, opened(d / "g", os.O_CREAT | os.O_RDWR) as target:
        done = 0
        while got := os.copy_file_range(source, target, len(DATA)):
            done += got
    assert (d / "g").read_bytes() == DATA


@behaviour([{"f": b"lower", "g": b"target"}])
def copy_file_range_into_a_lower_file(d: Path) -> None:
    with opened(d / "f") as source, opened(d / "g", os.O_RDWR) as target:
        assert os.copy_file_range(source, target, 3, offset_src=0, offset_dst=3) == 3
    assert (d / "g").read_bytes() == b"tarlow"


@behaviour(ONE)
def locks_hold_through_copy_up(d: Path) -> None:
    with opened(d / "f") as one, opened(d / "f", os.O_RDWR) as two:
        fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(two, b"x")
        with refuses(EAGAIN):
            fcntl.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB)


@behaviour([{"script": file(b"#!/bin/sh\necho from below\n", 0o755)}])
def lower_program_runs(d: Path) -> None:
    assert subprocess.run([d / "script"], capture_output=True, check=True).stdout == b"from below\n"
    with opened(d / "script", os.O_WRONLY | os.O_APPEND) as fd:
        os.write(fd, b"echo and above\n")
    assert subprocess.run([d / "script"], capture_output=True).stdout == b"from below\nand above\n"


@behaviour([{"l": symlink("some/target"), "b": symlink("x" * 3000)}])
def lower_symlink_is_read(d: Path) -> None:
    assert os.readlink(d / "l") == "some/target"
    assert os.lstat(d / "l").st_size == 11
    assert os.readlink(d / "b") == "x" * 3000


@behaviour([{"l": symlink("f"), "f": b""}], needs=Needs.IDS)
def chown_of_a_lower_symlink_leaves_its_target(d: Path) -> None:
    os.lchown(d / "l", ALICE, ALICE)
    assert os.lstat(d / "l").st_uid == ALICE
    assert (d / "f").stat().st_uid == 0
    assert os.readlink(d / "l") == "f"


@behaviour([{"p": fifo(0o622), "d": {}}])
def lower_fifo_works_before_and_after_copy_up(d: Path) -> None:
    for step in ("below", "above"):
        with opened(d / "p", os.O_RDWR) as fd:
            os.write(fd, step.encode())
            assert os.read(fd, 10) == step.encode()
        (d / "p").chmod(0o600)
    assert (d / "p").is_fifo()


@behaviour(
    [{"null": device("char", 1, 3, 0o666), "disk": device("block", 4095, 1_000_000)}], needs=Needs.ROOT
)
def lower_devices_are_shown_and_work(d: Path) -> None:
    assert (d / "null").is_char_device()
    (d / "null").write_bytes(b"swallowed")
    (d / "null").chmod(0o600)
    assert (d / "null").read_bytes() == b""
    info = (d / "disk").stat()
    assert (os.major(info.st_rdev), os.minor(info.st_rdev)) == (4095, 1_000_000)
    assert (d / "disk").is_block_device()


@behaviour(ONE)
def unlinked_lower_file_stays_readable(d: Path) -> None:
    with opened(d / "f") as fd:
        (d / "f").unlink()
        assert names(d) == []
        assert os.read(fd, 100) == b"lower data"
        assert os.fstat(fd).st_size == 10


@behaviour(ONE)
def unlinked_lower_file_has_no_links(d: Path) -> None:
    with opened(d / "f") as fd:
        (d / "f").unlink()
        assert os.fstat(fd).st_nlink == 0


@behaviour(ONE)
def unlinked_lower_file_that_is_open_can_be_written(d: Path) -> None:
    with opened(d / "f", os.O_RDWR) as fd:
        (d / "f").unlink()
        os.pwrite(fd, b"LOWER", 0)
        assert os.pread(fd, 100, 0) == b"LOWER data"
        os.ftruncate(fd, 3)
        assert os.fstat(fd).st_size == 3
    assert names(d) == []


@behaviour([{"f": b"lower", "g": b"other"}])
def replaced_lower_file_stays_readable(d: Path) -> None:
    with opened(d / "g") as fd:
        (d / "f").rename(d / "g")
        assert os.read(fd, 100) == b"other"
    assert (d / "g").read_bytes() == b"lower"
    assert names(d) == ["g"]


@behaviour([{"f": file(DATA)}])
def sendfile_of_a_lower_file(d: Path) -> None:
    with opened(d / "f") as source, opened(d / "g", os.O_CREAT | os.O_WRONLY) as target:
        done = 0
        while got := os.sendfile(target, source, done, len(DATA)):
            done += got
    assert (d / "g").read_bytes() == DATA


@behaviour([{f"f{i}": b"%d" % i for i in range(20)}])
def many_lower_files_are_changed_at_once(d: Path) -> None:
    fds = [os.open(d / f"f{i}", os.O_RDWR) for i in range(20)]
    for i, fd in enumerate(fds):
        os.pwrite(fd, b"<%d>" % i, 0)
    assert [(d / f"f{i}").read_bytes() for i in range(20)] == [b"<%d>" % i for i in range(20)]
    for fd in fds:
        os.close(fd)


@behaviour(BIG)
def processes_that_copy_up_one_file_at_once_agree(d: Path) -> None:
    pids = []
    for i in range(6):
        pid = os.fork()
        if pid == 0:
            with opened(d / "f", os.O_WRONLY) as fd:
                os.pwrite(fd, b"%d" % i, i)
            os._exit(0)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 6
    assert (d / "f").read_bytes() == b"012345" + DATA[6:]
