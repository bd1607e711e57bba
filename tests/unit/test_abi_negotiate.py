"""INIT: what is answered to what is offered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unionfs.errors import SetupError
from unionfs.fuse import opcodes as op
from unionfs.fuse.abi import InitIn, InitOut
from unionfs.fuse.negotiate import Session, negotiate
from unionfs.fuse.options import ServerOptions

EVERYTHING = (1 << 64) - 1

options = st.builds(
    ServerOptions,
    readonly=st.booleans(),
    io=st.sampled_from(["auto", "cached", "passthrough"]),
    acl=st.booleans(),
    zero_open=st.booleans(),
    readdirplus=st.booleans(),
    writeback=st.sampled_from([None, False, True]),
    without=st.sampled_from([0, op.MAX_PAGES, op.CACHE_SYMLINKS]),
)


def agree(
    chosen: ServerOptions, offered: int = EVERYTHING, *, minor: int = 45, may_back: bool = True
) -> tuple[Session, InitOut]:
    return negotiate(InitIn(7, minor, 131072, offered), chosen, may_back=may_back, page=4096)


@given(options, st.integers(0, EVERYTHING), st.integers(31, 60), st.booleans())
def test_nothing_is_answered_that_was_not_offered(
    chosen: ServerOptions, offered: int, minor: int, may_back: bool
) -> None:
    session, out = agree(chosen, offered, minor=minor, may_back=may_back)
    assert out.flags & ~offered == 0
    assert out.flags & chosen.without == 0
    assert out.minor == min(minor, 45)
    assert session.flags == out.flags
    assert out.max_pages * 4096 == out.max_write == session.max_write


@given(options, st.integers(0, EVERYTHING), st.booleans())
def test_flags_that_exclude_each_other(chosen: ServerOptions, offered: int, may_back: bool) -> None:
    session, out = agree(chosen, offered, may_back=may_back)
    if session.passthrough:
        assert not session.zero_open  # it needs OPEN
        assert not out.flags & op.WRITEBACK_CACHE
        assert out.max_stack_depth == 1
    else:
        assert out.max_stack_depth == 0
    if session.zero_open:
        assert not out.flags & op.ATOMIC_O_TRUNC  # else O_TRUNC would be lost
    if chosen.readonly:
        assert not out.flags & op.WRITEBACK_CACHE


@pytest.mark.parametrize(
    ("io", "readonly", "may_back", "passthrough"),
    [
        ("auto", False, True, True),
        ("auto", False, False, False),
        ("auto", True, True, False),
        ("cached", False, True, False),
        ("passthrough", False, False, True),
        ("passthrough", True, True, True),
    ],
)
def test_io(io: str, readonly: bool, may_back: bool, passthrough: bool) -> None:
    session, _ = agree(ServerOptions(io=io, readonly=readonly), may_back=may_back)
    assert session.passthrough is passthrough
    assert agree(ServerOptions(io=io), EVERYTHING & ~op.PASSTHROUGH)[0].passthrough is False


def test_debian_11_gets_zero_message_opens() -> None:
    """Linux 5.10 speaks 7.32 and has neither INIT_EXT nor passthrough."""
    session, out = agree(ServerOptions(), (1 << 29) - 1, minor=32)
    assert (session.zero_open, session.zero_opendir, session.setxattr_ext) == (True, True, False)
    assert out.minor == 32


@pytest.mark.parametrize(("major", "minor"), [(7, 30), (7, 8), (6, 45)])
def test_too_old_a_kernel_is_refused_with_a_hint(major: int, minor: int) -> None:
    with pytest.raises(SetupError, match=rf"FUSE {major}\.{minor}; at least 7\.31.*driver=pyfuse3"):
        negotiate(InitIn(major, minor, 0, EVERYTHING), ServerOptions(), may_back=False, page=4096)


def test_switches() -> None:
    flags = agree(ServerOptions(readdirplus=False, acl=False, zero_open=False))[1].flags
    assert not flags & (op.DO_READDIRPLUS | op.POSIX_ACL | op.NO_OPEN_SUPPORT | op.NO_OPENDIR_SUPPORT)
    assert agree(ServerOptions(io="cached", writeback=True))[1].flags & op.WRITEBACK_CACHE
    assert agree(ServerOptions(without=op.MAX_PAGES))[1].max_pages == 32
