"""What a TarLayer shows of hand-made archives: every kind of member, repeated names, links, whiteouts."""

from __future__ import annotations

import os
import stat

import pytest

from tests.support.archives import (
    END,
    GNU,
    V7,
    contents,
    directory,
    entries,
    file,
    hardlink,
    header,
    long_name,
    open_layer,
    padded,
    pax,
    seen,
    symlink,
)
from unionfs.errors import LayerError, UnionError
from unionfs.layers.base import Layer
from unionfs.model import Mark


@pytest.fixture
def tree(tmp_path):
    """The entries of an archive by path."""

    def make(*parts):
        with open_layer(tmp_path, *parts, END) as layer:
            return entries(layer)

    return make


@pytest.fixture
def facts(tmp_path):
    def make(*parts):
        with open_layer(tmp_path, *parts, END) as layer:
            return seen(layer)

    return make


def refused(tmp_path, *parts):
    with pytest.raises(LayerError) as caught:
        open_layer(tmp_path, *parts)
    assert not (tmp_path / "layer.idx").exists()
    assert str(tmp_path / "layer.tar") in str(caught.value)
    return str(caught.value)


def test_is_a_layer(tmp_path):
    layer: Layer = open_layer(tmp_path, END)
    assert len(layer.identity) == 16
    layer.close()


def test_every_kind(facts):
    shown = facts(
        directory(b"d/", mode=0o2750, uid=1, gid=2, mtime=3),
        file(b"d/f", b"data", mode=0o4711, uid=0o7777777, mtime=0o77777777777),
        symlink(b"l", b"d/f"),
        header(b"c", b"3", major=1, minor=259, mode=0o666),
        header(b"b", b"4", major=259, minor=1 << 19),
        header(b"p", b"6"),
        header(b"contiguous", b"7", 3) + padded(b"abc"),
        header(b"unknown", b"Z", 3) + padded(b"xyz"),
    )
    assert shown[b"d"][:5] == (stat.S_IFDIR, 0o2750, 1, 2, 3 * 10**9)
    assert shown[b"d/f"][:6] == (stat.S_IFREG, 0o4711, 0o7777777, 0, 0o77777777777 * 10**9, b"data")
    assert shown[b"l"][:6] == (stat.S_IFLNK, 0o777, 0, 0, 0, b"d/f")
    assert (shown[b"c"].type, shown[b"c"].rdev) == (stat.S_IFCHR, os.makedev(1, 259))
    assert (shown[b"b"].type, shown[b"b"].rdev) == (stat.S_IFBLK, os.makedev(259, 1 << 19))
    assert shown[b"p"].type == stat.S_IFIFO
    assert shown[b"contiguous"].data == b"abc"
    assert (shown[b"unknown"].type, shown[b"unknown"].data) == (stat.S_IFREG, b"xyz")


def test_attributes(tree):
    shown = tree(directory(b"d", mtime=7), directory(b"d/e"), file(b"d/f", b"x" * 513))
    assert shown[b""].attr.nlink == 3
    assert shown[b"d"].attr.nlink == 3
    attr = shown[b"d/f"].attr
    assert (attr.size, attr.blocks, attr.blksize, attr.nlink, attr.ino) == (
        513,
        2,
        4096,
        1,
        2 + shown[b"d/f"].handle,
    )
    assert shown[b"d"].attr[3:9] == (7, 7, 7, 0, 0, 0)


def test_root(tree):
    assert tree()[b""].attr.mode == stat.S_IFDIR | 0o755
    assert tree(directory(b"./", mode=0o700))[b""].attr.mode == stat.S_IFDIR | 0o700
    assert tree(directory(b"/", mode=0o711))[b""].attr.mode == stat.S_IFDIR | 0o711
    assert tree()[b""].handle == 0


@pytest.mark.parametrize("name", [b"a/b", b"./a/b", b"/a/b", b"a//b", b"a/./b", b"././/a/b", b"//a/b"])
def test_forms_of_a_path(tree, name):
    assert set(tree(file(name))) == {b"", b"a", b"a/b"}


@pytest.mark.parametrize("name", [b"a/b/", b"./a/b//", b"/a/b/.", b"a/b/./"])
def test_forms_of_the_path_of_a_directory(tree, name):
    assert set(tree(directory(name))) == {b"", b"a", b"a/b"}


def test_implied_parents(tree):
    shown = tree(file(b"a/b/c", mtime=5))
    assert [shown[path].attr.mode for path in (b"a", b"a/b")] == [stat.S_IFDIR | 0o755] * 2
    assert (shown[b"a"].attr.uid, shown[b"a"].attr.mtime) == (0, 0)


def test_implied_parent_is_described_later(tree):
    shown = tree(file(b"a/f"), directory(b"a/", mode=0o700))
    assert shown[b"a"].attr.mode == stat.S_IFDIR | 0o700
    assert b"a/f" in shown


@pytest.mark.parametrize("kind", [b"0", b"\0"])
def test_old_directory_is_a_file_with_a_slash(tree, kind):
    shown = tree(header(b"d/", kind, magic=V7), file(b"d/f"))
    assert stat.S_ISDIR(shown[b"d"].attr.mode)


def test_size_of_a_directory_is_not_data(tree):
    assert set(tree(header(b"d", b"5", 1000), file(b"f"))) == {b"", b"d", b"f"}


def test_dump_directory_has_data(tree):
    shown = tree(header(b"d/", b"D", 9, magic=GNU) + padded(b"Yfile\0\0"), file(b"f"))
    assert set(shown) == {b"", b"d", b"f"}
    assert stat.S_ISDIR(shown[b"d"].attr.mode)


def test_volume_label_is_no_file(tree):
    assert set(tree(header(b"backup of monday", b"V", magic=GNU), file(b"f"))) == {b"", b"f"}


def test_names_are_bytes(tree):
    assert set(tree(file(b"\xff\xfe\n"), file(b"a b"))) == {b"", b"\xff\xfe\n", b"a b"}


def test_prefix(tree):
    assert b"p/q/f" in tree(header(b"f", prefix=b"p/q"))
    assert set(tree(header(b"f", prefix=b"p/q", magic=GNU))) == {b"", b"f"}
    full = header(b"n" * 100, prefix=b"p" * 155)
    assert b"p" * 155 + b"/" + b"n" * 100 in tree(full)


def test_gnu_long_name_and_link(facts):
    name, target = b"d/" + b"n" * 255, b"t" * 3000
    shown = facts(long_name(target, b"K"), long_name(name), symlink(b"short", b"short"), file(b"next"))
    assert shown[name].data == target
    assert set(shown) == {b"", b"d", name, b"next"}


def test_name_of_255_bytes_is_the_longest(tmp_path, tree):
    assert b"n" * 255 in tree(long_name(b"n" * 255), file(b"x"))
    (tmp_path / "layer.idx").unlink()
    assert "longer than 255" in refused(tmp_path, long_name(b"n" * 256), file(b"x"), END)
    assert "longer than 255" in refused(tmp_path, long_name(b"n" * 256 + b"/x"), file(b"x"), END)


def test_base_256_numbers(tree):
    big = (1 << 31).to_bytes(8, "big")
    shown = tree(
        header(b"f", uid=b"\x80" + big[1:], gid=b"\x80" + big[1:], mtime=b"\xff" * 11 + b"\xfe"),
        header(b"g", size=b"\x80" + bytes(10) + b"\x03") + padded(b"abc"),
    )
    attr = shown[b"f"].attr
    assert (attr.uid, attr.gid, attr.mtime, attr.mtimensec) == (1 << 31, 1 << 31, -2, 0)
    assert shown[b"g"].attr.size == 3


def test_pax_overrides_the_header(tmp_path):
    records = [
        (b"path", b"p\xff/f"),
        (b"uid", b"4294967294"),
        (b"gid", b"3000000"),
        (b"size", b"3"),
        (b"mtime", b"-1.5"),
        (b"atime", b"5.000000001"),
        (b"ctime", b"7"),
        (b"comment", b"nothing"),
        (b"uname", b"root"),
    ]
    with open_layer(tmp_path, pax(*records), header(b"x", size=0) + padded(b"abc"), file(b"y"), END) as layer:
        shown = entries(layer)
        entry = shown[b"p\xff/f"]
        assert entry.attr[3:9] == (5, -2, 7, 1, 500_000_000, 0)
        assert (entry.attr.uid, entry.attr.gid, contents(layer, entry)) == (4294967294, 3000000, b"abc")
        assert set(shown) == {b"", b"p\xff", b"p\xff/f", b"y"}
        assert shown[b"y"].attr.mtime == 0


def test_pax_link_path(facts):
    shown = facts(
        pax((b"linkpath", b"t" * 200)),
        symlink(b"l", b"x"),
        file(b"f"),
        pax((b"linkpath", b"f")),
        hardlink(b"g", b"x"),
    )
    assert shown[b"l"].data == b"t" * 200
    assert shown[b"g"].group == (b"f", b"g")


def test_pax_global_header_holds_until_changed(tree):
    shown = tree(
        pax((b"uid", b"7"), (b"comment", b"a commit"), kind=b"g"),
        file(b"a"),
        pax((b"uid", b"8")),
        file(b"b"),
        file(b"c"),
        pax((b"uid", b""), kind=b"g"),
        file(b"d", uid=9),
    )
    assert [shown[name].attr.uid for name in (b"a", b"b", b"c", b"d")] == [7, 8, 7, 9]


def test_pax_empty_value_leaves_the_header(tree):
    assert (
        tree(pax((b"mtime", b"7"), kind=b"g"), pax((b"mtime", b"")), file(b"a", mtime=9))[b"a"].attr.mtime
        == 9
    )


def test_xattrs(tmp_path):
    attributes = [
        (b"SCHILY.xattr.user.a", b"\0binary=\n"),
        (b"SCHILY.xattr.security.capability", b"\1\0\0\2" + bytes(16)),
        (b"SCHILY.xattr.trusted.overlay.opaque", b"y"),
        (b"SCHILY.xattr.user.overlay.whiteout", b"y"),
    ]
    same = pax((b"SCHILY.xattr.user.same", b"1"))
    with open_layer(
        tmp_path, pax(*attributes), file(b"f"), same, file(b"g"), same, directory(b"d"), file(b"n")
    ) as layer:
        shown = entries(layer)
        found = {path: layer.xattrs(entry.handle) for path, entry in shown.items()}
        assert found[b"f"] == {b"user.a": b"\0binary=\n", b"security.capability": b"\1\0\0\2" + bytes(16)}
        assert found[b"g"] == found[b"d"] == {b"user.same": b"1"}
        assert found[b"n"] == {}
        assert shown[b"f"].mark == Mark.NONE


def test_hard_links(tree):
    shown = tree(file(b"d/f", b"x"), hardlink(b"a", b"d/f"), hardlink(b"d/g", b"./d//f"), file(b"other"))
    names = (b"a", b"d/f", b"d/g")
    assert len({shown[name].attr for name in names}) == 1
    assert shown[b"a"].attr.nlink == 3
    assert shown[b"a"].attr.ino == min(shown[name].handle for name in names) + 2
    assert shown[b"other"].attr.nlink == 1


def test_aliases(tmp_path):
    parts = [file(b"f%d" % n) + hardlink(b"d/g%d" % n, b"f%d" % n) for n in range(20)]
    with open_layer(tmp_path, *parts, file(b"single")) as layer:
        for n in range(20):
            entry = layer.lookup(0, b"f%d" % n)
            assert layer.aliases(entry.attr.ino) == [(b"f%d" % n,), (b"d", b"g%d" % n)]
        assert layer.aliases(layer.lookup(0, b"single").attr.ino) == [(b"single",)]


def test_hard_link_keeps_the_inode_it_was_made_to(facts):
    shown = facts(file(b"f", b"old"), hardlink(b"g", b"f"), file(b"f", b"new"), hardlink(b"h", b"f"))
    assert [shown[name].data for name in (b"f", b"g", b"h")] == [b"new", b"old", b"new"]
    assert (shown[b"g"].group, shown[b"h"].group) == ((b"g",), (b"f", b"h"))


def test_hard_link_to_itself_changes_nothing(facts):
    assert facts(file(b"f", b"x"), hardlink(b"f", b"./f"))[b"f"].group == (b"f",)


def test_hard_link_to_a_symbolic_link(facts):
    shown = facts(symlink(b"l", b"target"), hardlink(b"m", b"l"))
    assert (shown[b"m"].data, shown[b"m"].group) == (b"target", (b"l", b"m"))


def test_hard_link_replaces_a_directory_that_held_its_target(facts):
    assert facts(file(b"d/f", b"x"), hardlink(b"d", b"d/f"))[b"d"].data == b"x"


def test_hard_link_with_data_in_pax(facts):
    link = header(b"g", b"1", 3, link=b"f") + padded(b"new")
    shown = facts(pax((b"mtime", b"1")), file(b"f", b"old!"), pax((b"mtime", b"1")), link, file(b"n"))
    assert shown[b"f"].data == shown[b"g"].data == b"new"
    assert b"n" in shown


@pytest.mark.parametrize("magic", [GNU, V7])
def test_hard_link_with_a_size_only_for_show(facts, magic):
    shown = facts(file(b"f", b"old"), header(b"g", b"1", 3, link=b"f", magic=magic), file(b"n"))
    assert shown[b"g"].data == b"old"
    assert b"n" in shown


def test_hard_link_with_a_size_in_ustar(tmp_path, facts):
    link = header(b"g", b"1", 600, link=b"f")
    assert facts(file(b"f", b"old"), link, file(b"n"))[b"g"].data == b"old"
    assert facts(file(b"f", b"old"), link)[b"g"].data == b"old"
    shown = facts(file(b"f", b"old"), link, padded(b"y" * 600), file(b"n"))
    assert shown[b"f"].data == b"y" * 600
    assert b"n" in shown
    with open_layer(tmp_path, file(b"f", b"old"), link) as layer:
        assert set(entries(layer)) == {b"", b"f", b"g"}


def test_hard_link_with_data_to_a_symbolic_link(tmp_path):
    link = pax((b"size", b"3")) + header(b"g", b"1", link=b"l") + padded(b"new")
    assert "not a regular file" in refused(tmp_path, symlink(b"l", b"t"), link)


def test_last_of_a_name_wins(facts):
    assert facts(file(b"f", b"1"), file(b"f", b"22"))[b"f"].data == b"22"
    assert facts(file(b"f", b"1"), symlink(b"f", b"t"))[b"f"].type == stat.S_IFLNK


def test_repeated_directory_keeps_its_children(tree):
    shown = tree(directory(b"d", mode=0o700), file(b"d/f"), directory(b"d", mode=0o711))
    assert shown[b"d"].attr.mode == stat.S_IFDIR | 0o711
    assert b"d/f" in shown


def test_file_replaces_a_directory_and_what_is_in_it(tree):
    assert set(tree(file(b"d/e/f"), file(b"d"), file(b"g"))) == {b"", b"d", b"g"}


def test_directory_after_its_replacement_is_empty(tree):
    assert set(tree(file(b"d/e/f"), file(b"d"), directory(b"d"), file(b"d/e/g"))) == {
        b"",
        b"d",
        b"d/e",
        b"d/e/g",
    }


@pytest.mark.parametrize("old", [file(b"d", b"x"), symlink(b"d", b"/")])
def test_directory_replaces_a_file(tree, old):
    assert set(tree(old, directory(b"d"), file(b"d/f"))) == {b"", b"d", b"d/f"}


def test_whiteouts(tree):
    shown = tree(file(b"d/.wh.gone"), file(b".wh.dir"), file(b"f"))
    assert set(shown) == {b"", b"d", b"d/gone", b"dir", b"f"}
    assert shown[b"d/gone"].mark == shown[b"dir"].mark == Mark.WHITEOUT
    assert shown[b"f"].mark == Mark.NONE


def test_opaque(tree):
    shown = tree(directory(b"d"), file(b"d/.wh..wh..opq"), file(b"d/f"), file(b"e/.wh..wh..opq"))
    assert shown[b"d"].mark & shown[b"e"].mark & Mark.OPAQUE
    assert set(shown) == {b"", b"d", b"d/f", b"e"}


def test_opaque_marker_before_its_directory(tree):
    assert tree(file(b"d/.wh..wh..opq"), directory(b"d", mode=0o700))[b"d"].mark == Mark.OPAQUE


def test_opaque_root(tree):
    assert tree(file(b".wh..wh..opq"))[b""].mark == Mark.OPAQUE | Mark.IMPLIED


@pytest.mark.parametrize("flip", [False, True])
def test_real_entry_wins_over_a_whiteout(tree, flip):
    parts = [file(b".wh.f") + file(b".wh.d"), file(b"f") + file(b"d/x")]
    shown = tree(*(reversed(parts) if flip else parts))
    assert (shown[b"f"].mark, shown[b"d"].mark & ~Mark.IMPLIED) == (Mark.NONE, Mark.OPAQUE)
    assert set(shown) == {b"", b"f", b"d", b"d/x"}


def test_aufs_metadata_are_ignored_but_can_be_linked_to(facts):
    shown = facts(
        directory(b".wh..wh.plnk/"),
        file(b".wh..wh.plnk/12.34", b"x"),
        file(b".wh..wh.aufs"),
        hardlink(b"f", b".wh..wh.plnk/12.34"),
        hardlink(b"g", b".wh..wh.plnk/12.34"),
    )
    assert set(shown) == {b"", b"f", b"g"}
    assert (shown[b"f"].data, shown[b"f"].group) == (b"x", (b"f", b"g"))


@pytest.mark.parametrize("name", [b".wh.", b"d/.wh.", b".wh..", b".wh..."])
def test_whiteout_of_no_name(tmp_path, name):
    assert "whiteout of no name" in refused(tmp_path, file(name), END)


def test_listing_of_many(tmp_path):
    names = sorted(b"%x" % (n * 2654435761 % 2**32) for n in range(2000))
    with open_layer(tmp_path, *(file(b"d/" + name) for name in reversed(names))) as layer:
        parent = layer.lookup(0, b"d").handle
        assert [entry.name for entry in layer.scan(parent)] == names
        for after in (0, 1, 511, 512, 513, 1999, 2000, 2001):
            assert [entry.name for entry in layer.scan(parent, after)] == names[after:]
        assert all(layer.lookup(parent, name).name == name for name in names)
        assert not any(
            layer.lookup(parent, name + b"!") or layer.lookup(parent, name[:-1] + b"\0") for name in names
        )
        assert layer.lookup(parent, b"") is layer.lookup(parent, b"zz") is None
        assert layer.lookup(parent, names[0] + b"\0" + names[1]) is None


def test_questions_that_do_not_apply(tmp_path):
    with open_layer(tmp_path, file(b"f"), END) as layer:
        handle = layer.lookup(0, b"f").handle
        assert list(layer.scan(handle)) == []
        assert layer.lookup(handle, b"x") is None
        assert layer.marks(layer.root) == layer.root
        with pytest.raises(UnionError):
            layer.readlink(handle)
        with pytest.raises(UnionError):
            layer.source(0)
        for number in (-1, 2, 1 << 40):
            with pytest.raises(UnionError):
                layer.entry(number)
            with pytest.raises(UnionError):
                layer.aliases(number + 2)


def test_base_is_added_to_every_inode_number(tmp_path):
    with open_layer(tmp_path, file(b"f"), hardlink(b"g", b"f"), file(b"h"), END) as layer:
        before = [entry.attr.ino for entry in (layer.root, *layer.scan(0))]
        layer.base = 5 << 40
        shown = layer.root, *layer.scan(0)
        assert [entry.attr.ino - (5 << 40) for entry in shown] == before == [2, 3, 3, 5]
        assert layer.aliases(shown[2].attr.ino) == [(b"f",), (b"g",)]
        assert layer.names(0) == [b"f", b"g", b"h"]


def test_trim_loses_nothing(tmp_path):
    with open_layer(tmp_path, *(file(b"d/%d" % n) for n in range(1000))) as layer:
        before = entries(layer)
        layer.trim()
        assert entries(layer) == before


def test_entry_numbers_are_the_same_for_the_same_tree(tmp_path):
    parts = [file(b"b/2"), file(b"a"), directory(b"b"), file(b"b/1")]
    with open_layer(tmp_path, *parts) as layer:
        first = {path: entry.handle for path, entry in entries(layer).items()}
    assert first == {b"": 0, b"a": 1, b"b": 2, b"b/1": 3, b"b/2": 4}


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ([file(b"../f")], "leaves the root"),
        ([file(b"a/../../f")], "leaves the root"),
        ([directory(b"a/..")], "leaves the root"),
        ([file(b"..")], "leaves the root"),
        ([file(b"")], "name is empty"),
        ([symlink(b"./", b"x")], "root is not a directory"),
        ([hardlink(b"/", b"x")], "root is not a directory"),
        ([file(b"f"), file(b"f/g")], "'f' on its path is not a directory"),
        ([symlink(b"l", b"/etc"), file(b"l/passwd")], "'l' on its path is not a directory"),
        ([symlink(b"l", b"d"), directory(b"l/x/")], "'l' on its path is not a directory"),
        ([hardlink(b"g", b"f")], "not in the archive before it"),
        ([hardlink(b"g", b"../etc/passwd")], "leaves the root"),
        ([symlink(b"l", b"d"), file(b"d/f"), hardlink(b"g", b"l/f")], "not in the archive before it"),
        ([directory(b"d"), hardlink(b"g", b"d")], "link to the directory"),
        ([hardlink(b"g", b"")], "link to the directory"),
        ([symlink(b"l", b"")], "symbolic link of 0 bytes"),
        ([long_name(b"t" * 4096, b"K"), symlink(b"l", b"x")], "symbolic link of 4096 bytes"),
        ([header(b"f", b"M", magic=GNU)], "another volume"),
        ([header(b"c", b"3", major=4096)], "out of range"),
        ([header(b"f", uid=b"\xff" * 8)], "owner -1 is out of range"),
        ([pax((b"uid", b"4294967295")), file(b"f")], "owner 4294967295 is out of range"),
        ([header(b"f", mtime=b"\x80\0\0\1" + bytes(8))], "time"),
    ],
)
def test_refused_members_are_named_with_their_offset(tmp_path, parts, text):
    before = file(b"first", b"data"), *parts[:-1]
    message = refused(tmp_path, *before, parts[-1], END)
    assert text in message
    assert f"at byte {sum(map(len, before))}:" in message


def test_hard_link_to_a_later_name(tmp_path):
    assert "not in the archive before it" in refused(tmp_path, hardlink(b"g", b"f"), file(b"f"))
