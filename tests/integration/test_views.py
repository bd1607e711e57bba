"""Options by which a mount shows and stores something else than there is: owners, modes, attributes."""

from __future__ import annotations

import os
import stat
from errno import EOPNOTSUPP
from pathlib import Path

import pytest

from tests.conformance.kit import ACL_ACCESS, GROUP_OBJ, OTHER, USER_OBJ, acl, refuses
from tests.conftest import Mounts
from tests.support.command import mounts_below
from tests.support.mounts import Stack
from tests.support.notation import Tree, file

LAYER: Tree = {"d/f": file(b"lower", 0o640, uid=5, gid=6, xattrs={"user.k": b"v"}), "d/g": file(b"", uid=70)}
DRIVERS = ["driver=kernel", "driver=pyfuse3"]

pytestmark = [pytest.mark.timeout(60), pytest.mark.parametrize("driver", DRIVERS)]


def owner(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_uid, found.st_gid


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("squash_to_root", (0, 0)),
        ("squash_to_uid=7,squash_to_gid=8", (7, 8)),
        ("squash_to_root,squash_to_gid=8", (0, 8)),
    ],
)
def test_squashed_owners(union_mounts: Mounts, driver: str, words: str, shown: tuple[int, int]) -> None:
    made = union_mounts.stack([LAYER])
    mounted = union_mounts.union(made, f"{words},{driver}")

    def work() -> None:
        (mounted.path / "new").touch()
        (mounted.path / "d/f").write_bytes(b"changed")
        os.chown(mounted.path / "new", 50, 60)
        assert {owner(mounted.path / name) for name in ("d", "d/f", "d/g", "new")} == {shown}

    mounted.call(work)
    assert made.upper
    assert (owner(made.upper / "d/f"), owner(made.upper / "new")) == ((5, 6), (50, 60))


def test_mapped_owners(union_mounts: Mounts, driver: str) -> None:
    made = union_mounts.stack([LAYER])
    mounted = union_mounts.union(made, f"uidmapping=0:1000:10,gidmapping=0:2000:10,{driver}")

    def work() -> None:
        assert (owner(mounted.path / "d/f"), owner(mounted.path / "d/g")) == ((1005, 2006), (65534, 2000))
        os.chown(mounted.path / "d/f", 1009, 2001)
        (mounted.path / "d/new").touch()
        os.chown(mounted.path / "d/new", 1001, 2002)
        assert owner(mounted.path / "d/f") == (1009, 2001)

    mounted.call(work)
    assert made.upper
    assert (owner(made.upper / "d/f"), owner(made.upper / "d/new")) == ((9, 1), (1, 2))


@pytest.mark.parametrize(("box", "permissions"), [("user", "nodefault_permissions"), ("userns", "")])
def test_owners_and_modes_in_an_attribute(
    union_mounts: Mounts, driver: str, box: str, permissions: str
) -> None:
    """A user has to have no permissions checked to give files away; root of a user namespace does not."""
    made = union_mounts.stack([{}], box=box)
    words = f"xattr_permissions=2,{permissions},{driver}"

    def work() -> None:
        root = mounted.path
        (root / "f").write_bytes(b"text")
        (root / "d").mkdir(0o700)
        os.mkfifo(root / "p", 0o600)
        for name in ("f", "d", "p"):
            os.chown(root / name, 5, 6)
        (root / "f").chmod(0o4000)
        assert os.listxattr(root / "f") == []
        assert (root / "f").read_bytes() == b"text"

    def look() -> None:
        facts = {name: (mounted.path / name).lstat() for name in ("f", "d", "p")}
        assert {(found.st_uid, found.st_gid) for found in facts.values()} == {(5, 6)}
        modes = [stat.filemode(found.st_mode) for found in facts.values()]
        assert modes == ["---S------", "drwx------", "prw-------"]

    for action in (work, look):
        with union_mounts.opened(made, words, box=box) as mounted:
            mounted.call(action)
    assert made.upper
    assert os.getxattr(made.upper / "p", "user.containers.override_stat") == b"5:6:600:pipe"
    assert stat.S_ISREG((made.upper / "p").lstat().st_mode)


def test_no_attributes(union_mounts: Mounts, driver: str) -> None:
    mounted = union_mounts.union(union_mounts.stack([LAYER]), f"noxattrs,{driver}")

    def work() -> None:
        path = mounted.path / "d/f"
        for call in (lambda: os.getxattr(path, "user.k"), lambda: os.setxattr(path, "user.a", b"")):
            with refuses(EOPNOTSUPP):
                call()
        assert os.listxattr(path) == []
        path.write_bytes(b"changed")
        assert owner(path) == (5, 6)

    mounted.call(work)


def test_no_acls(union_mounts: Mounts, driver: str) -> None:
    mounted = union_mounts.union(union_mounts.stack([LAYER]), f"noacl,{driver}")

    def work() -> None:
        path = mounted.path / "d/f"
        with refuses(EOPNOTSUPP):
            os.setxattr(path, ACL_ACCESS, acl((USER_OBJ, 6), (GROUP_OBJ, 0), (OTHER, 0)))
        assert os.getxattr(path, "user.k") == b"v"

    mounted.call(work)


def test_words_that_the_kernel_shows(union_mounts: Mounts, driver: str) -> None:
    made: Stack = union_mounts.stack([LAYER])
    mounted = union_mounts.union(made, f"max_read=8192,noatime,noexec,{driver}")
    row = " ".join(mounts_below(made.base)[str(made.mountpoint)])
    assert all(word in row for word in ("max_read=8192", "noatime", "noexec"))
    assert mounted.call((mounted.path / "d/f").read_bytes) == b"lower"
