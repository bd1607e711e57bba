"""Extended attributes."""

import os
import time
from errno import E2BIG, EACCES, EEXIST, ENODATA, ENOTSUP, EPERM, ERANGE
from pathlib import Path

from tests.conformance.kit import Needs, as_user, behaviour, opened, refuses


def _file(d: Path) -> Path:
    (d / "f").write_bytes(b"")
    return d / "f"


@behaviour()
def xattr_is_kept(d: Path) -> None:
    for path in (_file(d), d):
        os.setxattr(path, "user.a", b"value")
        assert os.getxattr(path, "user.a") == b"value"
        assert os.listxattr(path) == ["user.a"]
    assert d.stat().st_size >= 0


@behaviour()
def xattr_is_replaced_and_removed(d: Path) -> None:
    f = _file(d)
    os.setxattr(f, "user.a", b"1")
    os.setxattr(f, "user.a", b"two")
    assert os.getxattr(f, "user.a") == b"two"
    os.removexattr(f, "user.a")
    assert os.listxattr(f) == []


@behaviour()
def missing_xattr_is_enodata(d: Path) -> None:
    f = _file(d)
    with refuses(ENODATA):
        os.getxattr(f, "user.a")
    with refuses(ENODATA):
        os.removexattr(f, "user.a")


@behaviour()
def xattr_flags_are_honoured(d: Path) -> None:
    f = _file(d)
    with refuses(ENODATA):
        os.setxattr(f, "user.a", b"", os.XATTR_REPLACE)
    os.setxattr(f, "user.a", b"1", os.XATTR_CREATE)
    with refuses(EEXIST):
        os.setxattr(f, "user.a", b"2", os.XATTR_CREATE)
    os.setxattr(f, "user.a", b"3", os.XATTR_REPLACE)
    assert os.getxattr(f, "user.a") == b"3"


@behaviour()
def xattr_may_be_empty_or_binary(d: Path) -> None:
    f = _file(d)
    os.setxattr(f, "user.empty", b"")
    os.setxattr(f, "user.binary", bytes(range(256)))
    assert os.getxattr(f, "user.empty") == b""
    assert os.getxattr(f, "user.binary") == bytes(range(256))


@behaviour()
def many_xattrs_are_listed(d: Path) -> None:
    f = _file(d)
    wanted = [f"user.attribute-{i}" for i in range(40)]
    for name in wanted:
        os.setxattr(f, name, name.encode())
    assert sorted(os.listxattr(f)) == sorted(wanted)
    assert all(os.getxattr(f, name) == name.encode() for name in wanted)


@behaviour()
def xattr_of_3000_bytes_is_kept(d: Path) -> None:
    f = _file(d)
    os.setxattr(f, "user.big", b"v" * 3000)
    assert os.getxattr(f, "user.big") == b"v" * 3000


@behaviour()
def xattr_beyond_64_kib_is_e2big(d: Path) -> None:
    with refuses(E2BIG):
        os.setxattr(_file(d), "user.big", b"v" * 65_537)


@behaviour()
def xattr_name_beyond_255_bytes_is_erange(d: Path) -> None:
    with refuses(ERANGE):
        os.setxattr(_file(d), "user." + "n" * 251, b"")


@behaviour()
def unknown_xattr_namespace_is_enotsup(d: Path) -> None:
    f = _file(d)
    with refuses(ENOTSUP):
        os.setxattr(f, "nonsense.a", b"")
    with refuses(ENOTSUP):
        os.setxattr(f, "user", b"")


@behaviour()
def xattr_by_descriptor_is_the_same(d: Path) -> None:
    with opened(_file(d)) as fd:
        os.setxattr(fd, "user.a", b"1")
        assert os.getxattr(d / "f", "user.a") == b"1"
        assert os.listxattr(fd) == ["user.a"]


@behaviour()
def xattr_survives_rename_link_and_chmod(d: Path) -> None:
    f = _file(d)
    os.setxattr(f, "user.a", b"1")
    os.link(f, d / "g")
    f.chmod(0o600)
    f.rename(d / "h")
    assert os.getxattr(d / "g", "user.a") == os.getxattr(d / "h", "user.a") == b"1"


@behaviour()
def xattr_changes_ctime_and_not_mtime(d: Path) -> None:
    f = _file(d)
    before = f.stat()
    time.sleep(0.011)
    os.setxattr(f, "user.a", b"1")
    after = f.stat()
    assert after.st_ctime_ns > before.st_ctime_ns
    assert after.st_mtime_ns == before.st_mtime_ns


@behaviour()
def user_xattr_on_links_and_fifos_is_eperm(d: Path) -> None:
    (d / "l").symlink_to("missing")
    os.mkfifo(d / "p")
    for name in ("l", "p"):
        with refuses(EPERM):
            os.setxattr(d / name, "user.a", b"", follow_symlinks=False)


@behaviour(needs=Needs.ROOT)
def trusted_xattr_works_everywhere(d: Path) -> None:
    _file(d)
    (d / "l").symlink_to("f")
    os.mkfifo(d / "p")
    for name in ("f", "l", "p"):
        os.setxattr(d / name, "trusted.a", name.encode(), follow_symlinks=False)
        assert os.getxattr(d / name, "trusted.a", follow_symlinks=False) == name.encode()
        assert os.listxattr(d / name, follow_symlinks=False) == ["trusted.a"]


@behaviour(needs=Needs.ROOT)
def trusted_xattr_is_hidden_from_users(d: Path) -> None:
    f = _file(d)
    f.chmod(0o666)
    os.setxattr(f, "trusted.a", b"secret")

    def look() -> None:
        assert os.listxattr(f) == []
        with refuses(ENODATA, EPERM):
            os.getxattr(f, "trusted.a")
        with refuses(EPERM):
            os.setxattr(f, "trusted.b", b"")

    as_user(look)


@behaviour(needs=Needs.ROOT)
def security_xattr_is_kept(d: Path) -> None:
    f = _file(d)
    os.setxattr(f, "security.test", b"label")
    assert os.getxattr(f, "security.test") == b"label"
    assert "security.test" in os.listxattr(f)


@behaviour(needs=Needs.IDS)
def user_xattr_follows_file_permissions(d: Path) -> None:
    f = _file(d)
    os.setxattr(f, "user.a", b"1")

    def readable() -> None:
        assert os.getxattr(f, "user.a") == b"1"
        with refuses(EACCES):
            os.setxattr(f, "user.a", b"2")

    def closed() -> None:
        with refuses(EACCES):
            os.getxattr(f, "user.a")

    f.chmod(0o644)
    as_user(readable)
    f.chmod(0o600)
    as_user(closed)


@behaviour(needs=Needs.ROOT)
def overlay_xattrs_of_a_nested_union_are_ordinary(d: Path) -> None:
    (d / "d").mkdir()
    (d / "d" / "f").write_bytes(b"x")
    for name, value in (("trusted.overlay.opaque", b"y"), ("trusted.overlay.redirect", b"elsewhere")):
        os.setxattr(d / "d", name, value)
        assert os.getxattr(d / "d", name) == value
        assert name in os.listxattr(d / "d")
    assert os.listdir(d / "d") == ["f"]
    os.removexattr(d / "d", "trusted.overlay.opaque")
    assert os.listxattr(d / "d") == ["trusted.overlay.redirect"]


@behaviour()
def user_overlay_xattrs_are_ordinary(d: Path) -> None:
    (d / "d").mkdir()
    os.setxattr(d / "d", "user.overlay.opaque", b"y")
    assert os.getxattr(d / "d", "user.overlay.opaque") == b"y"
    assert os.listxattr(d / "d") == ["user.overlay.opaque"]
