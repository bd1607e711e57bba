"""The index of a tar layer: its size, when it is built again, what happens when it is damaged or cannot be saved."""

from __future__ import annotations

import os
import struct
from zlib import crc32

import pytest

from tests.support.archives import (
    END,
    contents,
    directory,
    entries,
    file,
    hardlink,
    open_layer,
    pax,
    seen,
    symlink,
)
from unionfs.errors import LayerError
from unionfs.layers import index as fmt
from unionfs.layers import tartree
from unionfs.layers.indexer import IndexBuilder
from unionfs.layers.tarball import check_index, open_tar_layer
from unionfs.layers.tarindex import index_path

PARTS = [
    directory(b"d", mode=0o700),
    pax((b"SCHILY.xattr.user.a", b"1"), (b"atime", b"5")),
    file(b"d/f", b"data"),
    hardlink(b"g", b"d/f"),
    symlink(b"l", b"target"),
    file(b".wh.gone"),
]


@pytest.fixture
def tar(tmp_path):
    path = tmp_path / "layer.tar"
    path.write_bytes(b"".join(PARTS) + END)
    return path


@pytest.fixture
def index(tar):
    """The sound index of `tar`."""
    open_tar_layer(str(tar)).close()
    return tar.with_suffix(".idx")


def reason(tar):
    """Why the index had to be built again, checked to be sound afterwards."""
    found = check_index(str(tar)).rebuilt
    assert check_index(str(tar)).rebuilt == ""
    return found


def test_rows_are_64_bytes():
    assert fmt.ROW.size == fmt.HEAD.size + fmt.TAIL.size == fmt.ROW_SIZE == 64
    assert fmt.HEADER.size == 128


def test_bytes_of_an_index(tmp_path):
    names = [b"%05d" % n for n in range(1000)]
    open_layer(tmp_path, *map(file, names)).close()
    size = (tmp_path / "layer.idx").stat().st_size
    assert size == 128 + 1001 * 64 + 1 + sum(len(name) + 1 for name in names)


def test_equal_attributes_are_stored_once(tmp_path):
    label = pax((b"SCHILY.xattr.security.selinux", b"x" * 1000))
    open_layer(tmp_path, *(label + file(b"%d" % n) for n in range(100))).close()
    assert (tmp_path / "layer.idx").stat().st_size < 128 + 101 * 70 + 1100


def test_name_of_an_index():
    assert index_path("/a/layer.tar") == "/a/layer.idx"
    assert index_path("/a/layer") == "/a/layer.idx"
    assert index_path("/a.tar/layer.img") == "/a.tar/layer.img.idx"


def test_index_elsewhere(tar, tmp_path):
    where = tmp_path / "elsewhere"
    open_tar_layer(os.fsencode(tar), index=os.fsencode(where)).close()
    assert where.exists()
    assert not tar.with_suffix(".idx").exists()


def test_sound_index_is_used_as_it_is(tar, index):
    before = index.stat()
    open_tar_layer(str(tar)).close()
    found = check_index(str(tar))
    assert (found.rebuilt, found.entries, found.warning, len(found.identity)) == ("", 6, "", 16)
    assert (index.stat().st_ino, index.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_missing(tar):
    assert reason(tar) == "there was none"


def test_identity_is_that_of_the_contents(tar, tmp_path):
    first = check_index(str(tar)).identity
    copy = tmp_path / "copy.tar"
    copy.write_bytes(tar.read_bytes())
    assert check_index(str(copy)).identity == first
    copy.write_bytes(file(b"other") + tar.read_bytes())
    assert check_index(str(copy)).identity != first


def test_an_index_that_others_have_made_or_could_change_is_not_believed(tar, index):
    os.chown(index, 1001, -1)
    assert reason(tar) == "it belongs to somebody else"
    index.chmod(0o666)
    assert reason(tar) == "anybody can write it"
    os.chown(tar, 1001, -1)
    os.chown(index, 1001, -1)
    assert reason(tar) == ""


def test_stale_after_a_change(tar, index):
    tar.write_bytes(file(b"new") + END)
    assert reason(tar) == "the archive has changed since"
    with open_tar_layer(str(tar)) as layer:
        assert set(entries(layer)) == {b"", b"new"}


def test_stale_after_a_replacement_with_the_same_size_and_time(tar, index):
    st = tar.stat()
    tar.unlink()
    other = tar.with_suffix(".new")
    other.write_bytes(b"".join(PARTS).replace(b"gone", b"away") + END)
    data = bytearray(other.read_bytes())
    assert len(data) == st.st_size
    other.write_bytes(file(b"new").ljust(st.st_size, b"\0"))
    os.utime(other, ns=(st.st_atime_ns, st.st_mtime_ns))
    if other.stat().st_ino == st.st_ino:
        other.rename(tar.with_suffix(".keep"))
        other.write_bytes(tar.with_suffix(".keep").read_bytes())
        os.utime(other, ns=(st.st_atime_ns, st.st_mtime_ns))
    other.rename(tar)
    assert reason(tar) == "the archive has changed since"


def test_renamed_tar_keeps_its_index(tar, index, tmp_path):
    tar.rename(tmp_path / "moved.tar")
    index.rename(tmp_path / "moved.idx")
    assert check_index(str(tmp_path / "moved.tar")).rebuilt == ""


@pytest.mark.parametrize("size", [0, 1, 100, 127])
def test_too_short_for_a_header(tar, index, size):
    os.truncate(index, size)
    assert reason(tar) == "it is not an index"


@pytest.mark.parametrize("change", [-1, 1, -64])
def test_length_is_not_that_of_the_header(tar, index, change):
    os.truncate(index, index.stat().st_size + change)
    assert reason(tar) == "its length is not what its header says"


def test_other_version(tar, index):
    data = bytearray(index.read_bytes())
    data[8:12] = struct.pack("<I", fmt.VERSION + 1)
    index.write_bytes(data)
    assert f"has format {fmt.VERSION + 1}, this is {fmt.VERSION}" in reason(tar)


@pytest.mark.parametrize("at", [12, 16, 20, 24, 32, 40, 80, 127])
def test_damaged_header_is_found_at_open(tar, index, at):
    data = bytearray(index.read_bytes())
    data[at] ^= 1
    index.write_bytes(data)
    open_tar_layer(str(tar)).close()
    assert check_index(str(tar)).rebuilt == ""


def test_damaged_body_is_found_by_check(tar, index):
    sound = index.read_bytes()
    for at in range(128, len(sound), 37):
        index.write_bytes(sound[:at] + bytes([sound[at] ^ 0x40]) + sound[at + 1 :])
        assert reason(tar) == "its contents were damaged"
        assert index.read_bytes() == sound


def test_not_a_file(tar):
    tar.with_suffix(".idx").mkdir()
    with open_tar_layer(str(tar)) as layer:
        assert "Is a directory" in layer.warning


def test_symbolic_link_is_not_followed(tar, tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    tar.with_suffix(".idx").symlink_to(victim)
    assert reason(tar) != ""
    assert victim.read_bytes() == b"precious"
    assert not tar.with_suffix(".idx").is_symlink()


def test_index_that_cannot_be_saved_is_held_in_memory(tar, tmp_path):
    where = tmp_path / "missing" / "layer.idx"
    with open_tar_layer(str(tar), index=str(where)) as layer:
        assert layer.warning == f"cannot save the index {where}: No such file or directory"
        assert set(entries(layer)) == {b"", b"d", b"d/f", b"g", b"gone", b"l"}
        layer.trim()
        assert contents(layer, layer.lookup(0, b"g")) == b"data"
    assert check_index(str(tar), index=str(where)).warning == layer.warning


def test_nothing_is_left_beside_a_failed_index(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with open_layer(tmp_path, file(b"f"), END) as layer:
        assert "No space left on device" in layer.warning
        assert set(entries(layer)) == {b"", b"f"}
    assert [path.name for path in tmp_path.iterdir()] == ["layer.tar"]


def test_index_published_by_a_builder_is_sound(tar):
    builder = IndexBuilder("layer")
    data = tar.read_bytes()
    for at in range(0, len(data), 700):
        builder.feed(data[at : at + 700])
    with tar.open("rb") as stream:
        builder.publish(str(tar.with_suffix(".idx")), stream.fileno())
    assert check_index(str(tar)).rebuilt == ""


def test_builder_limits_entries():
    builder = IndexBuilder("layer", limit=10)
    with pytest.raises(
        LayerError, match="layer: member '10' at byte 5120: the archive has more than 10 entries"
    ):
        builder.feed(b"".join(file(b"%d" % n) for n in range(11)))


def test_builder_limits_attributes(monkeypatch):
    monkeypatch.setattr(tartree, "BLOB_MAX", 1 << 20)
    parts = [pax((b"SCHILY.xattr.user.%d" % n, b"x" * 60_000)) + file(b"f") for n in range(20)]
    with pytest.raises(LayerError, match="more than 1 MiB of link targets and attributes"):
        IndexBuilder("layer").feed(b"".join(parts))


def test_repeated_directories_take_no_space(tmp_path):
    parts = [directory(b"d", mode=number) for number in range(1000)]
    with open_layer(tmp_path, *parts, directory(b"./", mode=0o700), directory(b"/", mode=0o711)) as layer:
        assert [entry.attr.mode & 0o7777 for entry in (layer.root, *layer.scan(0))] == [0o711, 999]


def test_more_directories_than_are_remembered(tmp_path, monkeypatch):
    monkeypatch.setattr(tartree, "_PARENTS_MAX", 3)
    names = [b"%d/%d" % (n % 10, n) for n in range(100)]
    with open_layer(tmp_path, *map(file, names)) as layer:
        assert set(names) < set(entries(layer))


def test_large_data_are_not_read(tmp_path):
    path = tmp_path / "layer.tar"
    with path.open("wb") as tar:
        from tests.support.archives import header

        tar.write(header(b"big", size=b"\x80" + (1 << 34).to_bytes(11, "big")))
        tar.seek(1 << 34, os.SEEK_CUR)
        tar.write(file(b"f", b"x") + END)
    with open_tar_layer(str(path)) as layer:
        assert layer.lookup(0, b"big").attr.size == 1 << 34
        assert contents(layer, layer.lookup(0, b"f")) == b"x"
    os.truncate(path, 1 << 34)
    with pytest.raises(LayerError, match="truncated"):
        open_tar_layer(str(path))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.mkdir(), "is not a regular file"),
        (lambda path: os.mkfifo(path), "is not a regular file"),
    ],
)
def test_tar_that_cannot_be_opened(tmp_path, make, text):
    make(tmp_path / "layer.tar")
    with pytest.raises(LayerError, match=text):
        open_tar_layer(str(tmp_path / "layer.tar"))


def forged(tar, index, number, at, form, value):
    """The index with one field of a row changed and everything else right, the header's checksum too."""
    data = bytearray(index.read_bytes())
    struct.pack_into(form, data, 128 + 64 * number + at, value)
    head = bytes(data[:12]) + bytes(4) + bytes(data[16:128])
    struct.pack_into("<I", data, 12, crc32(head))
    index.write_bytes(data)
    return open_tar_layer(str(tar))


D, G, GONE, L, F = 1, 2, 3, 4, 5


@pytest.mark.parametrize(
    "children", [2 | 1 << 32, 1 | 1 << 32, 0 | 1 << 32, 5 | 2 << 32, 0xFFFFFFFF | 1 << 32, 1 << 63]
)
def test_damaged_directory(tar, index, children):
    with forged(tar, index, D, fmt.DATA_AT, "<Q", children) as layer:
        if children == 2 | 1 << 32:  # another place, within bounds: only `check_index` can tell
            assert len(list(layer.scan(D))) == 1
            return
        for ask in (lambda: list(layer.scan(D)), lambda: layer.lookup(D, b"f"), lambda: layer.names(D)):
            with pytest.raises(LayerError, match="directory 1 are out of bounds"):
                ask()


@pytest.mark.parametrize(
    ("at", "form", "value"), [(0, "<I", 0xFFFFFFFF), (0, "<I", 0), (16, "<B", 255), (16, "<B", 0)]
)
def test_damaged_name(tar, index, at, form, value):
    with forged(tar, index, F, at, form, value) as layer:
        with pytest.raises(LayerError, match="names of entries"):
            list(layer.scan(D))
        try:
            assert layer.entry(F).name != b"f"
            assert layer.lookup(D, b"f") is None
        except LayerError:
            pass


def test_damaged_name_that_is_empty(tar, index):
    data = index.read_bytes()
    assert b"d\0g\0gone" in data
    index.write_bytes(data.replace(b"d\0g\0gone", b"d\0\0xgone"))
    with open_tar_layer(str(tar)) as layer, pytest.raises(LayerError, match="names of entries"):
        layer.names(0)


def test_damaged_parent(tar, index):
    with forged(tar, index, F, 4, "<I", F) as layer:
        for ask in (layer.path, layer.parent):
            with pytest.raises(LayerError, match="below itself"):
                ask(F)


def test_damaged_primary(tar, index):
    with (
        forged(tar, index, F, 8, "<I", 1 << 31) as layer,
        pytest.raises(LayerError, match="hard link to a later one"),
    ):
        layer.entry(F)


@pytest.mark.parametrize("value", [1 << 20, 1 << 62, (1 << 64) - 1])
def test_damaged_place_of_data(tar, index, value):
    with (
        forged(tar, index, G, fmt.DATA_AT, "<Q", value) as layer,
        pytest.raises(LayerError, match="beyond the end"),
    ):
        layer.source(G)
    with (
        forged(tar, index, L, fmt.DATA_AT, "<Q", value) as layer,
        pytest.raises(LayerError, match="out of bounds"),
    ):
        layer.readlink(L)


@pytest.mark.parametrize("value", [100, 0xFFFFFFFF])
def test_damaged_reference(tar, index, value):
    with forged(tar, index, G, 56, "<I", value) as layer, pytest.raises(LayerError, match="out of bounds"):
        layer.xattrs(G)
    with forged(tar, index, G, 60, "<I", value) as layer, pytest.raises(LayerError, match="out of bounds"):
        layer.entry(G)


def test_times_that_are_nowhere(tar, index):
    with forged(tar, index, F, 60, "<I", 0) as layer, pytest.raises(LayerError, match="out of bounds"):
        list(layer.scan(D))


def test_what_is_read_back(tar, index):
    with open_tar_layer(str(tar)) as layer:
        shown = seen_but_whiteouts(layer)
        assert shown[b"d/f"].group == (b"g", b"d/f")
        assert layer.xattrs(F) == {b"user.a": b"1"}
        assert layer.entry(F).attr.atime == 5


def seen_but_whiteouts(layer):
    layer.aliases(layer.lookup(0, b"gone").attr.ino)
    return {path: facts for path, facts in seen(layer).items() if path != b"gone"}
