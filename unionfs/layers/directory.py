"""DirLayer: a plain directory as a read-only layer, with deletions and moves in the forms of whiteout.py.

Owns the descriptors of the directories it has visited, at most `max_open` at a time.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

from unionfs import override, sysfd, whiteout
from unionfs.errors import SetupError, UnionError
from unionfs.layers.base import Entry, Handle, Source
from unionfs.model import NAME_MAX, Attr, Mark

_new = tuple.__new__

MAX_OPEN = 4096
INO_LIMIT = 1 << 48
ODD_INO = 1 << 47
"""Where inode numbers start for inodes on another file system below the root, or too large for 48 bits."""


class Path:
    """A handle: the name of an entry in its parent. Directories keep a descriptor while there is room."""

    __slots__ = ("fd", "name", "parent", "xattr_whiteouts")

    def __init__(self, parent: Path | None, name: bytes) -> None:
        self.parent = parent
        self.name = name
        self.fd = -1
        self.xattr_whiteouts: bool | None = None  # not asked yet

    def names(self) -> tuple[bytes, ...]:
        found: list[bytes] = []
        at = self
        while at.parent is not None:
            found.append(at.name)
            at = at.parent
        return tuple(reversed(found))


class DirLayer:
    """A directory. `userxattr` says which of the overlay's two namespaces its marks are in.

    `override_key` names an extended attribute that corrects owner and mode (override.py); b"" for none.
    `wh_files`: names that begin with `.wh.` are whiteouts too, as containers/storage unpacks layers for a mount
    program; the names themselves are not there then. `lowest`: there is no layer below, so that nothing need be
    looked for that only hides what is there.
    """

    def __init__(
        self,
        path: bytes,
        *,
        userxattr: bool = False,
        override_key: bytes = b"",
        wh_files: bool = False,
        lowest: bool = False,
        max_open: int = MAX_OPEN,
    ) -> None:
        try:
            self._root_fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as e:
            raise SetupError(f"cannot open the layer {os.fsdecode(path)}: {e.strerror}") from e
        self.where = path
        self._names = whiteout.USER if userxattr else whiteout.TRUSTED
        self._override = override_key
        self._max_open = max_open
        self._wh_files = wh_files
        self._hides_by_files = wh_files and not lowest
        self._open: dict[Path, None] = {}  # INVARIANT: exactly the paths, but for the root, with fd >= 0
        self.base = 0
        self._odd: dict[tuple[int, int], int] = {}
        self._links: dict[int, list[tuple[bytes, ...]]] | None = None
        st = os.fstat(self._root_fd)
        self._dev = st.st_dev
        self._root = Path(None, b"")
        self._root.fd = self._root_fd
        self.identity = b"dir:%d" % st.st_ino
        self.root = Entry(b"", self._attr(st, self._root_fd, b""), self._root)

    def close(self) -> None:
        self.drop_descriptors()
        if self._root_fd >= 0:
            os.close(self._root_fd)
            self._root_fd = self._root.fd = -1

    def drop_descriptors(self) -> None:
        """Lets names be looked up afresh, from the root down."""
        for path in self._open:
            os.close(path.fd)
            path.fd = -1
        self._open.clear()
        self._links = None

    def fileno(self) -> int:
        """The descriptor of the root directory."""
        return self._root_fd

    def descriptors(self) -> int:
        """How many directories below the root are held open."""
        return len(self._open)

    # -- names

    def lookup(self, parent: Handle, name: bytes) -> Entry | None:
        assert isinstance(parent, Path)
        fd = parent.fd if parent.fd >= 0 else self._fd(parent)
        if self._wh_files and name.startswith(whiteout.FILE_PREFIX):
            return None
        st = sysfd.lstat_or_none(fd, name)
        if st is not None:
            return self._entry(parent, fd, name, st)
        if self._hides_by_files and (st := wh_file(fd, name)):
            return Entry(name, self._attr(st, fd, b""), Path(parent, name), Mark.WHITEOUT)
        return None

    def entry(self, handle: Handle) -> Entry:
        assert isinstance(handle, Path)
        return Entry(handle.name, self.attr(handle), handle)

    def attr(self, handle: Handle) -> Attr:
        fd, name = self._at(handle)
        return self._attr(sysfd.lstat(fd, name), fd, name)

    def scan(self, parent: Handle, after: int = 0) -> Iterator[Entry]:
        assert isinstance(parent, Path)
        for name in self.names(parent)[after:]:
            entry = self.lookup(parent, name)
            if entry is not None:
                yield entry

    def names(self, parent: Handle) -> list[bytes]:
        assert isinstance(parent, Path)
        fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._fd(parent))
        try:
            names = [os.fsencode(name) for name in os.listdir(fd)]
        finally:
            os.close(fd)
        return [n for n in names if n[:4] != whiteout.FILE_PREFIX] if self._wh_files else names

    def marks(self, entry: Entry) -> Entry:
        mode = entry.attr.mode
        if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
            return entry
        fd, name = self._at(entry.handle)
        mark, redirect = read_marks(self._names, partial(readable, fd, name), is_dir=stat.S_ISDIR(mode))
        if self._hides_by_files and stat.S_ISDIR(mode) and self._is_opaque_by_file(entry.handle):
            mark |= Mark.OPAQUE
        return entry._replace(mark=entry.mark | mark, redirect=redirect) if mark else entry

    # -- contents

    def readlink(self, handle: Handle) -> bytes:
        fd, name = self._at(handle)
        return os.fsencode(os.readlink(name, dir_fd=fd))

    def source(self, handle: Handle) -> Source:
        fd, name = self._at(handle)
        data = open_quietly(fd, name)
        try:
            size = os.fstat(data).st_size
            if size and sysfd.has_xattr(data, self._names.metacopy):
                raise UnionError(errno.EIO, f"no layer has the data of {name!r}")
            return Source(data, 0, size)
        except BaseException:
            os.close(data)
            raise

    def release(self, source: Source) -> None:
        os.close(source.fd)

    def xattrs(self, handle: Handle) -> dict[bytes, bytes]:
        fd, name = self._at(handle)
        found = sysfd.all_xattrs(fd, name)
        return {
            shown: value for key, value in found.items() if (shown := self._names.to_view(key)) is not None
        }

    def path(self, handle: Handle) -> tuple[bytes, ...]:
        assert isinstance(handle, Path)
        return handle.names()

    def aliases(self, ino: int) -> list[tuple[bytes, ...]]:
        if self._links is None:
            self._links = self._find_links()
        return self._links.get(ino, [])

    def _find_links(self) -> dict[int, list[tuple[bytes, ...]]]:
        """Every name of every hard-linked file: a directory keeps no list of them, so this reads it whole, once."""
        links: dict[int, list[tuple[bytes, ...]]] = {}
        todo = [self._root]
        while todo:
            parent = todo.pop()
            for entry in self.scan(parent):
                assert isinstance(entry.handle, Path)
                if stat.S_ISDIR(entry.attr.mode):
                    todo.append(entry.handle)
                elif entry.attr.nlink > 1 and not entry.mark & Mark.WHITEOUT:
                    links.setdefault(entry.attr.ino, []).append(entry.handle.names())
        return links

    # -- descriptors

    def _at(self, handle: Handle) -> tuple[int, bytes]:
        """(directory descriptor, final name); the root is its own descriptor and no name."""
        assert isinstance(handle, Path)
        if handle.parent is None:
            return self._root_fd, b""
        return self._fd(handle.parent), handle.name

    def _fd(self, path: Path) -> int:
        if path.fd < 0:
            chain = [path]
            while (above := chain[-1].parent) is not None and above.fd < 0:
                chain.append(above)
            for at in reversed(chain):
                assert at.parent is not None
                at.fd = sysfd.open_dir(at.parent.fd, at.name)
                self._open[at] = None
            self._evict(keep=len(chain))
        return path.fd

    def _evict(self, keep: int) -> None:
        while len(self._open) > max(self._max_open, keep):
            path = next(iter(self._open))
            del self._open[path]
            os.close(path.fd)
            path.fd = -1

    # -- readings

    def _entry(self, parent: Path, fd: int, name: bytes, st: os.stat_result) -> Entry:
        mark, kind = 0, st.st_mode & 0o170000
        if kind == stat.S_IFCHR and st.st_rdev == whiteout.WHITEOUT_DEV:
            mark = Mark.WHITEOUT
        elif kind == stat.S_IFREG and st.st_size == 0 and self._has_xattr_whiteouts(parent):
            value = readable(fd, name, self._names.whiteout)
            mark = Mark.NONE if value is None else Mark.WHITEOUT
        return _new(Entry, (name, self._attr(st, fd, name), Path(parent, name), mark, b""))

    def _has_xattr_whiteouts(self, path: Path) -> bool:
        if path.xattr_whiteouts is None:
            value = readable(self._fd(path), b"", self._names.opaque)
            path.xattr_whiteouts = value == whiteout.OPAQUE_MAY_HAVE_XATTR_WHITEOUTS
        return path.xattr_whiteouts

    def _is_opaque_by_file(self, handle: Handle) -> bool:
        """Whether a directory says so, or stands beside its own whiteout, which is of the layers below."""
        assert isinstance(handle, Path)
        with suppress(PermissionError):  # what may not be looked into cannot count
            if sysfd.lstat_or_none(self._fd(handle), whiteout.OPAQUE_FILE):
                return True
        return handle.parent is not None and wh_file(self._fd(handle.parent), handle.name) is not None

    def _attr(self, st: os.stat_result, fd: int, name: bytes) -> Attr:
        ino = st.st_ino
        if st.st_dev != self._dev or not 0 < ino < ODD_INO:
            ino = self._odd.setdefault((st.st_dev, ino), ODD_INO + len(self._odd))
        attr = sysfd.attr_of(st, self.base + ino)
        return override.applied(attr, self._override, fd, name) if self._override else attr


def wh_file(fd: int, name: bytes) -> os.stat_result | None:
    """The file that deletes a name, if there is one."""
    marker = whiteout.FILE_PREFIX + name
    return sysfd.lstat_or_none(fd, marker) if len(marker) <= NAME_MAX else None


def readable(fd: int, name: bytes, key: bytes) -> bytes | None:
    """An attribute of an entry of a layer; what may not be read cannot count."""
    try:
        return sysfd.getxattr(fd, name, key)
    except PermissionError:
        return None


def read_marks(
    names: whiteout.Names, get: Callable[[bytes], bytes | None], *, is_dir: bool
) -> tuple[int, bytes]:
    """(OPAQUE, METACOPY and REDIRECT of an entry, the redirect). A redirect no kernel would write is passed over."""
    mark = Mark.NONE
    if is_dir:
        if get(names.opaque) == whiteout.OPAQUE:
            mark = Mark.OPAQUE
    elif get(names.metacopy) is None:
        return mark, b""
    else:
        mark = Mark.METACOPY
    redirect = get(names.redirect) or b""
    if redirect and whiteout.redirect_names(redirect) is not None:
        return mark | Mark.REDIRECT, redirect
    return mark, b""


def open_quietly(fd: int, name: bytes) -> int:
    """Opens a file for reading; without touching its access time where the server may."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(name, flags | os.O_NOATIME, dir_fd=fd)
    except PermissionError:  # not the owner
        return os.open(name, flags, dir_fd=fd)
