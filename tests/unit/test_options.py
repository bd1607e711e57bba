"""`-o` strings: the forms of mount(8), kernel overlayfs, podman and buildah."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unionfs.errors import SetupError
from unionfs.idmap import IdMap, Range
from unionfs.options import MountOptions, escape, is_known, parse, split, unescape

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_NOATIME, MS_RELATIME = 1, 2, 4, 8, 1024, 1 << 21


def test_nothing_is_the_defaults() -> None:
    assert parse([]) == parse([""]) == parse([",,"]) == MountOptions()


def test_podmans_words() -> None:
    options = parse(["lowerdir=/h/l/ABC:/h/l/DEF,upperdir=/h/x/diff,workdir=/h/x/work,,volatile"])
    assert options == MountOptions(("/h/l/ABC", "/h/l/DEF"), "/h/x/diff", "/h/x/work", volatile=True)


def test_podmans_words_with_user_mappings_and_a_label() -> None:
    options = parse(
        [
            "lowerdir=l/A,upperdir=diff,workdir=work,volatile,uidmapping=:0:100000:65536,"
            'gidmapping=:0:100000:65536,context="system_u:object_r:container_file_t:s0:c1,c2",xattr_permissions=2'
        ]
    )
    assert options.ids == IdMap((Range(0, 100000, 65536),), (Range(0, 100000, 65536),))
    assert options.contexts == ('context="system_u:object_r:container_file_t:s0:c1,c2"',)
    assert options.override == b"user.containers.override_stat"
    assert options.unknown == ()


def test_several_strings_add_up_and_the_last_word_wins() -> None:
    options = parse(["lowerdir=/a,ro", "upperdir=/u", "workdir=/w,rw,lowerdir=/b"])
    assert options == MountOptions(("/b",), "/u", "/w", cleared=MS_RDONLY)


@pytest.mark.parametrize(
    ("value", "lowers"),
    [
        (r"/a\:b:/c", ("/a:b", "/c")),
        (r"/a\,b:/c", ("/a,b", "/c")),
        (r"/a\\:/c", ("/a\\", "/c")),
        (r"/a\\\:b", ("/a\\:b",)),
        (r"/a\"b", ('/a"b',)),
        ('/a"b:/c"d', ('/a"b', '/c"d')),
        ('"/a,b:/c"', ("/a,b", "/c")),
        ('"/a', ('"/a',)),
        ("/a:", ("/a",)),
        (":/a", ("/a",)),
        ("relative:../up", ("relative", "../up")),
        ("/\udcff:/ü b", ("/\udcff", "/ü b")),
        ("/a=b", ("/a=b",)),
    ],
)
def test_lower_paths(value: str, lowers: tuple[str, ...]) -> None:
    assert parse([f"ro,lowerdir={value},upperdir=/u"]) == MountOptions(lowers, "/u", flags=MS_RDONLY)


def test_lowers_one_a_word() -> None:
    assert parse([r"lowerdir+=/a:b,lowerdir+=/c\,d"]).lowers == ("/a:b", "/c,d")


@given(st.lists(st.text(min_size=1), min_size=1, max_size=5), st.text(min_size=1))
def test_escaped_values_come_back(paths: list[str], other: str) -> None:
    text = f"lowerdir={':'.join(map(escape, paths))},log={escape(other)},ro"
    assert parse([text]) == MountOptions(tuple(paths), log=other, flags=MS_RDONLY)


@given(st.text(alphabet='ab\\,:"= ', max_size=30))
def test_any_text_splits_and_joins(text: str) -> None:
    assert ",".join(split(text, ",")) == text
    unescape(text)


@pytest.mark.parametrize(
    ("words", "flags", "cleared"),
    [
        ("ro", MS_RDONLY, 0),
        ("ro,rw", 0, MS_RDONLY),
        ("nodev,nosuid,noexec", MS_NODEV | MS_NOSUID | MS_NOEXEC, 0),
        ("nodev,dev,suid,exec", 0, MS_NODEV | MS_NOSUID | MS_NOEXEC),
        ("noatime", MS_NOATIME, 0),
        ("noatime,atime,relatime", MS_RELATIME, MS_NOATIME),
    ],
)
def test_mount_flags(words: str, flags: int, cleared: int) -> None:
    assert parse([words]) == MountOptions(flags=flags, cleared=cleared)


def test_every_choice() -> None:
    words = (
        "allow_other,default_permissions,fsname=a b,subtype=x,userxattr,noxattrs,noacl,private,"
        "driver=pyfuse3,io=cached,timeout=1.5,writeback=0,poll=30,readahead=1048576,max_read=4096,log=/l,debug"
    )
    assert parse([words]) == MountOptions(
        allow_other=True,
        default_permissions=True,
        fsname="a b",
        subtype="x",
        userxattr=True,
        xattrs=False,
        acl=False,
        private=True,
        driver="pyfuse3",
        io="cached",
        timeout=1.5,
        writeback=False,
        poll=30,
        readahead=1 << 20,
        max_read=4096,
        log="/l",
        debug=True,
    )


@pytest.mark.parametrize(("value", "size"), [("on", None), ("off", sys.maxsize), ("0", 0), ("65536", 65536)])
def test_metacopy(value: str, size: int | None) -> None:
    assert parse([f"metacopy={value}"]).metacopy_from == size


def test_wh_files() -> None:
    assert parse([]).wh_files
    assert not parse(["wh_files=off"]).wh_files


def test_squash_to_an_id_goes_before_squash_to_root() -> None:
    assert parse(["squash_to_root"]).ids == IdMap(squash_uid=0, squash_gid=0)
    assert parse(["squash_to_uid=7,squash_to_root"]).ids == IdMap(squash_uid=7, squash_gid=0)
    assert parse(["squash_to_gid=0"]).ids == IdMap(squash_gid=0)
    assert parse(["ro"]).ids is None


def test_unknown_words_are_kept_in_order() -> None:
    assert parse(["frob,ro,lowerdir=/a,nicate=1\\,2"]).unknown == ("frob", "nicate=1,2")


def test_words_of_others_mean_nothing_and_are_known() -> None:
    words = (
        "defaults,auto,noauto,user,user=me,_netdev,nofail,nolazytime,comment=x,x-systemd.automount,fsync=0,"
        "static_nlink,xino=on,redirect_dir=on,index=off,nonempty,max_write=4096,async"
    )
    options = parse([words])
    assert options._replace(cleared=0) == MountOptions()
    assert all(map(is_known, words.split(",")))
    assert not is_known("frobnicate=1")


@pytest.mark.parametrize(
    "word",
    [
        "lowerdir=",
        "lowerdir=:",
        "lowerdir=/a::/b",
        "upperdir=",
        "workdir=",
        "timeout=soon",
        "timeout=-1",
        "timeout=inf",
        "timeout=nan",
        "poll=-1",
        "poll=1e3",
        "readahead=9999999999999999999",
        "squash_to_uid=root",
        "squash_to_gid=4294967295",
        "uidmapping=0:1",
        "xattr_permissions=3",
        "driver=c",
        "io=fast",
        "writeback=maybe",
        "metacopy=some",
        "noxattrs=2",
    ],
)
def test_a_value_without_sense_is_one_clear_line(word: str) -> None:
    with pytest.raises(SetupError) as error:
        parse(["ro", word])
    assert word.split("=")[0] + "=" in str(error.value)
    assert error.value.hint
    assert "\n" not in str(error.value)
