"""POSIX access control lists, as the xattrs that carry them."""

import os
from errno import EACCES, EINVAL, ENODATA
from pathlib import Path

from tests.conformance.kit import (
    ACL_ACCESS,
    ACL_DEFAULT,
    ALICE,
    BOB,
    GROUP,
    GROUP_OBJ,
    GROUP_TAG,
    MASK,
    OTHER,
    USER,
    USER_OBJ,
    Needs,
    acl,
    as_user,
    behaviour,
    mode,
    opened,
    refuses,
    umask,
)

READ_FOR_ALICE = acl((USER_OBJ, 6), (USER, 4, ALICE), (GROUP_OBJ, 0), (MASK, 4), (OTHER, 0))
DEFAULT = acl((USER_OBJ, 7), (USER, 7, ALICE), (GROUP_OBJ, 5), (MASK, 7), (OTHER, 0))


def _file(d: Path) -> Path:
    (d / "f").write_bytes(b"x")
    (d / "f").chmod(0o600)
    return d / "f"


@behaviour(needs=Needs.IDS)
def acl_lets_a_named_user_in(d: Path) -> None:
    f = _file(d)
    as_user(lambda: _denied(f))
    os.setxattr(f, ACL_ACCESS, READ_FOR_ALICE)
    assert os.getxattr(f, ACL_ACCESS) == READ_FOR_ALICE
    as_user(lambda: _reads(f))
    as_user(lambda: _denied(f), BOB)


@behaviour(needs=Needs.IDS)
def acl_lets_a_named_group_in(d: Path) -> None:
    f = _file(d)
    os.setxattr(f, ACL_ACCESS, acl((1, 6), (GROUP_OBJ, 0), (GROUP_TAG, 4, GROUP), (MASK, 4), (OTHER, 0)))
    as_user(lambda: _reads(f), ALICE, ALICE, GROUP)
    as_user(lambda: _denied(f), ALICE, ALICE)


def _reads(path: Path) -> None:
    assert path.read_bytes() == b"x"


def _denied(path: Path) -> None:
    with refuses(EACCES):
        path.read_bytes()


@behaviour(needs=Needs.IDS)
def acl_mask_shows_as_group_bits(d: Path) -> None:
    f = _file(d)
    os.setxattr(f, ACL_ACCESS, acl((USER_OBJ, 6), (USER, 6, ALICE), (GROUP_OBJ, 0), (MASK, 6), (OTHER, 0)))
    assert mode(f) == 0o660
    f.chmod(0o600)
    as_user(lambda: _denied(f))
    f.chmod(0o640)
    as_user(lambda: _reads(f))


@behaviour(needs=Needs.IDS)
def acl_follows_chmod(d: Path) -> None:
    f = _file(d)
    os.setxattr(f, ACL_ACCESS, READ_FOR_ALICE)
    f.chmod(0o707)
    assert os.getxattr(f, ACL_ACCESS) == acl(
        (USER_OBJ, 7), (USER, 4, ALICE), (GROUP_OBJ, 0), (MASK, 0), (OTHER, 7)
    )


@behaviour()
def acl_that_says_no_more_than_the_mode_is_not_stored(d: Path) -> None:
    f = _file(d)
    os.setxattr(f, ACL_ACCESS, acl((USER_OBJ, 6), (GROUP_OBJ, 4), (OTHER, 4)))
    assert mode(f) == 0o644
    with refuses(ENODATA):
        os.getxattr(f, ACL_ACCESS)


@behaviour(needs=Needs.IDS)
def acl_can_be_removed(d: Path) -> None:
    f = _file(d)
    os.setxattr(f, ACL_ACCESS, READ_FOR_ALICE)
    os.removexattr(f, ACL_ACCESS)
    with refuses(ENODATA):
        os.getxattr(f, ACL_ACCESS)
    f.chmod(0o600)
    as_user(lambda: _denied(f))


@behaviour(needs=Needs.IDS)
def default_acl_is_inherited(d: Path) -> None:
    (d / "d").mkdir()
    os.setxattr(d / "d", ACL_DEFAULT, DEFAULT)
    (d / "d" / "sub").mkdir()
    (d / "d" / "f").write_bytes(b"x")
    assert os.getxattr(d / "d" / "sub", ACL_DEFAULT) == DEFAULT
    assert os.getxattr(d / "d" / "sub", ACL_ACCESS) == DEFAULT
    assert os.getxattr(d / "d" / "f", ACL_ACCESS) == acl(
        (USER_OBJ, 6), (USER, 7, ALICE), (GROUP_OBJ, 5), (MASK, 6), (OTHER, 0)
    )
    with refuses(ENODATA):
        os.getxattr(d / "d" / "f", ACL_DEFAULT)


@behaviour(needs=Needs.IDS)
def default_acl_takes_the_place_of_the_umask(d: Path) -> None:
    (d / "d").mkdir()
    os.setxattr(d / "d", ACL_DEFAULT, acl((USER_OBJ, 7), (GROUP_OBJ, 7), (OTHER, 7)))
    with umask(0o077):
        (d / "d" / "f").write_bytes(b"")
        (d / "d" / "sub").mkdir()
        os.mkfifo(d / "d" / "p")
    assert (mode(d / "d" / "f"), mode(d / "d" / "sub"), mode(d / "d" / "p")) == (0o666, 0o777, 0o666)


@behaviour(needs=Needs.IDS)
def tmpfile_inherits_a_default_acl(d: Path) -> None:
    (d / "d").mkdir()
    os.setxattr(d / "d", ACL_DEFAULT, DEFAULT)
    with umask(0o077), opened(d / "d", os.O_TMPFILE | os.O_RDWR, 0o666) as fd:
        assert os.fstat(fd).st_mode & 0o777 == 0o660
        assert os.getxattr(fd, ACL_ACCESS) == acl(
            (USER_OBJ, 6), (USER, 7, ALICE), (GROUP_OBJ, 5), (MASK, 6), (OTHER, 0)
        )


@behaviour()
def default_acl_on_a_file_is_refused(d: Path) -> None:
    with refuses(EACCES):
        os.setxattr(_file(d), ACL_DEFAULT, acl((USER_OBJ, 6), (GROUP_OBJ, 4), (OTHER, 4)))


@behaviour()
def malformed_acl_is_einval(d: Path) -> None:
    f = _file(d)
    for value in (b"\2\0\0\0x", acl((USER_OBJ, 6), (OTHER, 0)), acl((USER, 4, 1), (OTHER, 0))):
        with refuses(EINVAL):
            os.setxattr(f, ACL_ACCESS, value)
    assert mode(f) == 0o600
