"""Contents of regular files: open flags, reading, writing, truncating."""

import mmap
import os
import resource
import signal
from errno import EBADF, EEXIST, EFBIG, EINVAL, EISDIR, ELOOP, ENOTDIR, ENXIO
from pathlib import Path

from tests.conformance.kit import behaviour, mode, names, opened, refuses

CREATE = os.O_CREAT | os.O_RDWR


@behaviour()
def file_holds_what_was_written(d: Path) -> None:
    (d / "f").write_bytes(b"hello")
    assert (d / "f").read_bytes() == b"hello"
    assert (d / "f").stat().st_size == 5


@behaviour()
def large_file_holds_what_was_written(d: Path) -> None:
    data = bytes(range(256)) * 13_001
    (d / "f").write_bytes(data)
    assert (d / "f").read_bytes() == data


@behaviour()
def new_file_is_empty_with_one_link(d: Path) -> None:
    with opened(d / "f", CREATE) as fd:
        info = os.fstat(fd)
        assert (info.st_size, info.st_nlink) == (0, 1)
        assert os.read(fd, 10) == b""


@behaviour()
def write_at_an_offset_leaves_a_gap_of_zeros(d: Path) -> None:
    with opened(d / "f", CREATE) as fd:
        os.pwrite(fd, b"end", 100_000)
    assert (d / "f").read_bytes() == bytes(100_000) + b"end"


@behaviour()
def write_in_the_middle_keeps_the_rest(d: Path) -> None:
    (d / "f").write_bytes(b"a" * 10_000)
    with opened(d / "f", os.O_WRONLY) as fd:
        os.pwrite(fd, b"bbb", 5000)
    assert (d / "f").read_bytes() == b"a" * 5000 + b"bbb" + b"a" * 4997


@behaviour()
def read_stops_at_the_end(d: Path) -> None:
    (d / "f").write_bytes(b"12345")
    with opened(d / "f") as fd:
        assert os.pread(fd, 100, 3) == b"45"
        assert os.pread(fd, 100, 5) == b""
        assert os.pread(fd, 100, 50_000) == b""


@behaviour()
def two_descriptors_see_each_others_writes(d: Path) -> None:
    with opened(d / "f", CREATE) as one, opened(d / "f", os.O_RDWR) as two:
        os.write(one, b"from one")
        assert os.read(two, 100) == b"from one"
        os.pwrite(two, b"two", 5)
        assert os.pread(one, 100, 0) == b"from two"


@behaviour()
def size_is_the_same_by_name_and_by_descriptor(d: Path) -> None:
    with opened(d / "f", CREATE) as fd:
        for size in (1, 5000, 70_000):
            os.pwrite(fd, b"x", size - 1)
            assert os.fstat(fd).st_size == size
            assert (d / "f").stat().st_size == size


@behaviour()
def append_always_writes_at_the_end(d: Path) -> None:
    (d / "f").write_bytes(b"1")
    with opened(d / "f", os.O_WRONLY | os.O_APPEND) as one, opened(d / "f", os.O_WRONLY | os.O_APPEND) as two:
        os.write(one, b"2")
        os.write(two, b"3")
        os.lseek(one, 0, os.SEEK_SET)
        os.write(one, b"4")
    assert (d / "f").read_bytes() == b"1234"


@behaviour()
def append_by_two_processes_loses_nothing(d: Path) -> None:
    (d / "f").write_bytes(b"")
    pids = []
    for letter in (b"a", b"b", b"c"):
        pid = os.fork()
        if pid == 0:
            with opened(d / "f", os.O_WRONLY | os.O_APPEND) as fd:
                for _ in range(100):
                    os.write(fd, letter * 100 + b"\n")
            os._exit(0)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0, 0]
    lines = (d / "f").read_bytes().split()
    assert sorted(lines) == [b"a" * 100] * 100 + [b"b" * 100] * 100 + [b"c" * 100] * 100


@behaviour()
def trunc_empties_the_file(d: Path) -> None:
    (d / "f").write_bytes(b"x" * 9000)
    with opened(d / "f", os.O_WRONLY | os.O_TRUNC) as fd:
        assert os.fstat(fd).st_size == 0
        os.write(fd, b"new")
    assert (d / "f").read_bytes() == b"new"


@behaviour()
def trunc_is_seen_by_other_descriptors(d: Path) -> None:
    (d / "f").write_bytes(b"x" * 9000)
    with opened(d / "f") as reader, opened(d / "f", os.O_WRONLY | os.O_TRUNC):
        assert os.read(reader, 10) == b""


@behaviour()
def excl_refuses_what_exists(d: Path) -> None:
    (d / "f").write_bytes(b"keep")
    (d / "d").mkdir()
    (d / "dangling").symlink_to("missing")
    for name in ("f", "d", "dangling"):
        with refuses(EEXIST):
            os.open(d / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    assert (d / "f").read_bytes() == b"keep"
    assert names(d) == ["d", "dangling", "f"]


@behaviour()
def creat_of_an_existing_file_opens_it(d: Path) -> None:
    (d / "f").write_bytes(b"keep")
    (d / "f").chmod(0o640)
    with opened(d / "f", CREATE, 0o777) as fd:
        assert os.read(fd, 10) == b"keep"
    assert mode(d / "f") == 0o640


@behaviour()
def creat_through_a_dangling_link_makes_its_target(d: Path) -> None:
    (d / "l").symlink_to("target")
    (d / "l").write_bytes(b"x")
    assert (d / "target").read_bytes() == b"x"
    assert (d / "l").is_symlink()


@behaviour()
def file_of_mode_0_can_be_written_by_its_creator(d: Path) -> None:
    with opened(d / "f", CREATE, 0) as fd:
        os.write(fd, b"secret")
        assert os.pread(fd, 10, 0) == b"secret"
    assert mode(d / "f") == 0
    assert (d / "f").stat().st_size == 6


@behaviour()
def read_only_file_can_be_written_by_its_creator(d: Path) -> None:
    with opened(d / "f", os.O_CREAT | os.O_WRONLY, 0o444) as fd:
        os.write(fd, b"x" * 9000)
    assert (d / "f").read_bytes() == b"x" * 9000


@behaviour()
def directory_cannot_be_opened_for_writing(d: Path) -> None:
    (d / "d").mkdir()
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_CREAT | os.O_RDONLY):
        with refuses(EISDIR):
            os.open(d / "d", flags)


@behaviour()
def o_directory_refuses_a_file(d: Path) -> None:
    (d / "f").write_bytes(b"")
    with refuses(ENOTDIR):
        os.open(d / "f", os.O_DIRECTORY)


@behaviour()
def o_nofollow_refuses_a_link(d: Path) -> None:
    (d / "f").write_bytes(b"")
    (d / "l").symlink_to("f")
    with refuses(ELOOP):
        os.open(d / "l", os.O_NOFOLLOW)


@behaviour()
def o_path_descriptor_tells_but_does_not_read(d: Path) -> None:
    (d / "f").write_bytes(b"abc")
    with opened(d / "f", os.O_PATH) as fd:
        assert os.fstat(fd).st_size == 3
        with refuses(EBADF):
            os.read(fd, 1)


@behaviour()
def descriptor_does_only_what_it_was_opened_for(d: Path) -> None:
    (d / "f").write_bytes(b"abc")
    with opened(d / "f") as fd:
        with refuses(EBADF):
            os.write(fd, b"x")
        with refuses(EBADF, EINVAL):
            os.ftruncate(fd, 0)
    with opened(d / "f", os.O_WRONLY) as fd, refuses(EBADF):
        os.read(fd, 1)
    assert (d / "f").read_bytes() == b"abc"


@behaviour()
def truncate_shortens(d: Path) -> None:
    (d / "f").write_bytes(b"x" * 10_000)
    os.truncate(d / "f", 4097)
    assert (d / "f").read_bytes() == b"x" * 4097


@behaviour()
def truncate_lengthens_with_zeros(d: Path) -> None:
    (d / "f").write_bytes(b"x" * 10)
    os.truncate(d / "f", 10_000)
    assert (d / "f").read_bytes() == b"x" * 10 + bytes(9990)


@behaviour()
def truncate_down_and_up_does_not_bring_back_old_bytes(d: Path) -> None:
    with opened(d / "f", CREATE) as fd:
        os.write(fd, b"x" * 10_000)
        os.ftruncate(fd, 100)
        os.ftruncate(fd, 10_000)
        assert os.pread(fd, 10_000, 0) == b"x" * 100 + bytes(9900)


@behaviour()
def write_after_truncate_keeps_its_offset(d: Path) -> None:
    with opened(d / "f", CREATE) as fd:
        os.write(fd, b"x" * 100)
        os.ftruncate(fd, 0)
        os.write(fd, b"y")
    assert (d / "f").read_bytes() == bytes(100) + b"y"


@behaviour()
def truncate_of_a_directory_is_eisdir(d: Path) -> None:
    with refuses(EISDIR):
        os.truncate(d, 0)


@behaviour()
def negative_sizes_and_offsets_are_einval(d: Path) -> None:
    with opened(d / "f", CREATE) as fd:
        with refuses(EINVAL):
            os.ftruncate(fd, -1)
        with refuses(EINVAL):
            os.lseek(fd, -1, os.SEEK_SET)
        with refuses(EINVAL):
            os.pwrite(fd, b"x", -1)


@behaviour()
def seek_moves_from_start_current_and_end(d: Path) -> None:
    (d / "f").write_bytes(b"0123456789")
    with opened(d / "f", os.O_RDWR) as fd:
        assert os.lseek(fd, 4, os.SEEK_SET) == 4
        assert os.lseek(fd, 2, os.SEEK_CUR) == 6
        assert os.read(fd, 1) == b"6"
        assert os.lseek(fd, -1, os.SEEK_END) == 9
        os.pwrite(fd, b"x", 99)
        assert os.lseek(fd, 0, os.SEEK_END) == 100


@behaviour()
def offsets_beyond_4_gib_work(d: Path) -> None:
    far = 5 << 30
    with opened(d / "f", CREATE) as fd:
        os.pwrite(fd, b"far", far)
        assert os.fstat(fd).st_size == far + 3
        assert os.pread(fd, 10, far) == b"far"
        assert os.pread(fd, 4, far - 4) == bytes(4)
        assert os.fstat(fd).st_blocks * 512 < 1 << 20


@behaviour()
def vectors_are_read_and_written_in_order(d: Path) -> None:
    with opened(d / "f", CREATE) as fd:
        assert os.pwritev(fd, [b"ab", b"", b"cde"], 0) == 5
        parts = [bytearray(1), bytearray(3), bytearray(9)]
        assert os.preadv(fd, parts, 0) == 5
        assert parts[0] + parts[1] + parts[2][:1] == b"abcde"


@behaviour()
def empty_write_changes_nothing(d: Path) -> None:
    (d / "f").write_bytes(b"abc")
    with opened(d / "f", os.O_WRONLY) as fd:
        assert os.pwrite(fd, b"", 100) == 0
    assert (d / "f").read_bytes() == b"abc"


@behaviour()
def synchronous_writes_and_fsync_work(d: Path) -> None:
    with opened(d / "f", CREATE | os.O_SYNC) as fd:
        os.write(fd, b"sync")
        os.fsync(fd)
        os.fdatasync(fd)
    with opened(d / "f", os.O_WRONLY | os.O_DSYNC | os.O_APPEND) as fd:
        os.write(fd, b"ed")
    with opened(d) as fd:
        os.fsync(fd)
    assert (d / "f").read_bytes() == b"synced"


@behaviour()
def many_small_writes_add_up(d: Path) -> None:
    with opened(d / "f", CREATE) as fd:
        for i in range(3000):
            os.write(fd, b"%07d\n" % i)
    assert (d / "f").read_bytes() == b"".join(b"%07d\n" % i for i in range(3000))


@behaviour()
def sendfile_copies_between_files(d: Path) -> None:
    data = bytes(range(256)) * 1000
    (d / "f").write_bytes(data)
    with opened(d / "f") as source, opened(d / "g", CREATE) as target:
        done = 0
        while got := os.sendfile(target, source, done, len(data)):
            done += got
    assert (d / "g").read_bytes() == data


@behaviour()
def splice_goes_through_a_pipe(d: Path) -> None:
    data = b"0123456789" * 400
    (d / "f").write_bytes(data)
    reader, writer = os.pipe()
    with opened(d / "f") as source, opened(d / "g", CREATE) as target:
        assert os.splice(source, writer, len(data)) == len(data)
        assert os.splice(reader, target, len(data)) == len(data)
    assert (d / "g").read_bytes() == data


@behaviour()
def file_size_limit_is_efbig(d: Path) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    with opened(d / "f", CREATE) as fd:
        assert os.pwrite(fd, b"x" * 20_000, 0) == 10_000
        with refuses(EFBIG):
            os.pwrite(fd, b"x", 10_000)
        with refuses(EFBIG):
            os.ftruncate(fd, 10_001)


@behaviour()
def descriptor_follows_the_file_through_rename(d: Path) -> None:
    with opened(d / "f", CREATE) as fd:
        os.write(fd, b"one ")
        (d / "f").rename(d / "g")
        os.write(fd, b"two")
        assert os.fstat(fd).st_ino == (d / "g").stat().st_ino
    assert (d / "g").read_bytes() == b"one two"


@behaviour()
def write_to_a_read_only_mode_file_by_an_open_descriptor_works(d: Path) -> None:
    with opened(d / "f", CREATE) as fd:
        os.fchmod(fd, 0o400)
        os.write(fd, b"still")
    assert (d / "f").read_bytes() == b"still"


@behaviour()
def direct_io_reads_what_was_written(d: Path) -> None:
    (d / "f").write_bytes(b"a" * 8192)
    with opened(d / "f", os.O_RDWR | os.O_DIRECT) as fd:
        page = mmap.mmap(-1, 4096)
        assert os.preadv(fd, [page], 4096) == 4096
        assert page[:] == b"a" * 4096
        page[:] = b"b" * 4096
        assert os.pwritev(fd, [page], 0) == 4096
    assert (d / "f").read_bytes() == b"b" * 4096 + b"a" * 4096


@behaviour()
def seek_past_the_last_data_is_enxio(d: Path) -> None:
    (d / "f").write_bytes(b"abc")
    with opened(d / "f") as fd, refuses(ENXIO):
        os.lseek(fd, 3, os.SEEK_DATA)
