"""The top layer on disk: a directory in overlayfs's format, and the work directory beside it.

Everything that is to replace or appear whole is made in the work directory first and enters the top layer by
one rename. What a crash leaves in the work directory is removed when it is next opened.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

from unionfs import override, sysfd, whiteout, workdir
from unionfs.annotations import TypeVar
from unionfs.errors import SetupError, UnionError
from unionfs.layers.directory import open_quietly, read_marks
from unionfs.model import Attr, Policy
from unionfs.node import Node

T = TypeVar("T")

MAX_DIRS = 8192
"""Directory descriptors kept; opening one again costs an openat(2) a level."""
MAX_FILES = 16384
UNWRITABLE = frozenset({errno.EPERM, errno.EROFS, errno.ETXTBSY})
"""Why nobody may open a file for writing that can be read: chattr +i or +a, a file system that has become
read-only, a program that runs from the top layer itself."""


class Upper:
    """The top layer. Entries are addressed by nodes (linked ones: parent and name) or as (descriptor, name)."""

    def __init__(self, upperdir: bytes, workdir: bytes, policy: Policy) -> None:
        self.policy = policy
        self.names = whiteout.USER if policy.userxattr else whiteout.TRUSTED
        self._count = itertools.count()
        self._dirs: dict[Node, None] = {}  # INVARIANT: linked directories, but for the root, with fd >= 0
        self._files: dict[Node, None] = {}  # INVARIANT: linked regular files with fd >= 0
        self._unwritable: set[Node] = set()  # INVARIANT: regular files whose fd is O_RDONLY
        self._evicted: list[int] = []
        self.max_files = min(MAX_FILES, sysfd.descriptor_limit() // 4)
        self.max_dirs = min(MAX_DIRS, sysfd.descriptor_limit() // 4)
        self.root_fd = _open_dir(upperdir, "top layer")
        self._work_root = _open_dir(workdir, "work directory")
        self._check(upperdir, workdir)
        self.owner = (os.geteuid(), os.getegid())
        """Whose is what this process makes."""
        self.syncs = not (policy.volatile or sysfd.in_memory(self.root_fd))
        """Whether fsync means anything here; if not, it is never called."""
        try:
            self.work = self._fresh_work()
        except OSError as e:
            text = f"the work directory {os.fsdecode(workdir)} cannot be changed: {e.strerror}"
            hint = "it must be writable; to read alone, leave out upperdir= and name the top layer first in lowerdir="
            raise SetupError(text, hint=hint) from e
        self.mknod_whiteouts = self._can_mknod_whiteouts()
        self.keeps_marks = self._can_set_marks()
        """Whether the file system has extended attributes for us; tmpfs has none for users before Linux 6.6."""

    def _check(self, upperdir: bytes, workdir: bytes) -> None:
        if os.fstat(self.root_fd).st_dev != os.fstat(self._work_root).st_dev:
            raise SetupError(
                f"{os.fsdecode(upperdir)} and {os.fsdecode(workdir)} are on different file systems",
                hint="the work directory must be on the same one as the top layer",
            )
        try:
            fcntl.flock(self._work_root, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SetupError(
                f"the work directory {os.fsdecode(workdir)} is in use by another mount",
                hint="unmount it first, or give this mount a work directory and a top layer of its own",
            ) from None

    def _fresh_work(self) -> int:
        """An empty `work` in the work directory, as the kernel uses it; a crashed mount's leftovers go."""
        workdir.clear(self._work_root)
        os.mkdir(b"work", 0o700, dir_fd=self._work_root)
        return os.open(b"work", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._work_root)

    def _can_mknod_whiteouts(self) -> bool:
        name = self.temp()
        try:
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=self.work)
        except OSError:
            return False
        os.unlink(name, dir_fd=self.work)
        return True

    def _can_set_marks(self) -> bool:
        """Tried on the work directory, as the kernel's overlayfs does."""
        try:
            sysfd.setxattr(self.work, b"", self.names.opaque, b"0")
            sysfd.removexattr(self.work, b"", self.names.opaque)
        except OSError:
            return False
        return True

    def close(self) -> None:
        self._close_evicted()
        for fd in (self.root_fd, self.work, self._work_root):
            if fd >= 0:
                os.close(fd)
        self.root_fd = self.work = self._work_root = -1

    def temp(self) -> bytes:
        """A name in the work directory that nobody else has; for any thread."""
        return b"#%x" % next(self._count)

    # -- descriptors

    def dir_fd(self, node: Node) -> int:
        """The O_PATH descriptor of a directory that is in the top layer."""
        fd = node.fd
        if fd >= 0:
            return fd
        chain = [node]
        while chain[-1].fd < 0:
            above = chain[-1].parent
            if above is None or not chain[-1].upper:
                raise UnionError(errno.ENOENT, "the directory is gone")
            chain.append(above)
        for below in reversed(chain[:-1]):
            assert below.parent is not None
            below.fd = sysfd.open_dir(below.parent.fd, below.name)
            self._dirs[below] = None
        if len(self._dirs) > (room := max(self.max_dirs, len(chain))):
            self._evict(self._dirs, room)
        return node.fd

    def file_fd(self, node: Node) -> int:
        """An O_RDWR descriptor of a regular file that is in the top layer; it stays the node's."""
        if node.fd < 0:
            self.give_fd(node, open_rw(*self.at(node)))
        elif node in self._unwritable:
            fd = open_rw(*self.at(node))
            os.close(node.fd)
            node.fd = fd
            self._unwritable.discard(node)
        return node.fd

    def read_fd(self, node: Node) -> int:
        """`file_fd`, or where there can be none a descriptor to read from."""
        try:
            return node.fd if node.fd >= 0 else self.file_fd(node)
        except OSError as e:
            if e.errno not in UNWRITABLE:
                raise
        fd, name = self.at(node)
        self.give_fd(node, open_quietly(fd, name))
        self._unwritable.add(node)
        return node.fd

    def is_writable(self, node: Node) -> bool:
        """Whether the descriptor that a node has is one of `file_fd`."""
        return node not in self._unwritable

    def give_fd(self, node: Node, fd: int) -> None:
        """Lets a node own the descriptor that its file was just made with."""
        node.fd = fd
        self._files[node] = None
        if len(self._files) > self.max_files:
            self._evict(self._files, self.max_files)

    def _evict(self, held: dict[Node, None], room: int) -> None:
        """Takes descriptors from nodes, the oldest first.

        They are closed by the next eviction: who has asked for one may ask for another, and use both.
        """
        self._close_evicted()
        while len(held) > room:
            node = next(iter(held))
            del held[node]
            self._unwritable.discard(node)
            self._evicted.append(node.fd)
            node.fd = -1

    def _close_evicted(self) -> None:
        while self._evicted:
            os.close(self._evicted.pop())

    def descriptors(self) -> tuple[int, int]:
        """How many directories and files are held open."""
        return len(self._dirs), len(self._files)

    def keep(self, node: Node) -> None:
        """Holds a node whose last name is about to go by a descriptor, which no eviction closes."""
        if node.fd < 0:
            fd, name = self.at(node)
            node.fd = self.read_fd(node) if node.is_reg else os.open(name, PATH_FLAGS, dir_fd=fd)
        self._dirs.pop(node, None)
        self._files.pop(node, None)

    def release(self, node: Node) -> None:
        """Closes a node's descriptor."""
        self._dirs.pop(node, None)
        self._files.pop(node, None)
        self._unwritable.discard(node)
        if node.fd >= 0:
            os.close(node.fd)
            node.fd = -1

    def at(self, node: Node) -> tuple[int, bytes]:
        """(descriptor, name) of an entry; the name is empty where the descriptor is the entry itself."""
        if node.fd >= 0 and (node.fmt == stat.S_IFREG or node.parent is None):
            return node.fd, b""
        if node.parent is None:
            raise UnionError(errno.ESTALE, "the inode is gone")
        return self.dir_fd(node.parent), node.name

    # -- readings

    def lstat(self, node: Node) -> os.stat_result:
        return sysfd.lstat(*self.at(node))

    def listdir(self, directory: Node) -> list[bytes]:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        at = self.dir_fd(directory)
        fd = as_owner(*self.at(directory), lambda: os.open(b".", flags, dir_fd=at))
        try:
            return [os.fsencode(name) for name in os.listdir(fd)]
        finally:
            os.close(fd)

    def only_whiteouts(self, directory: Node) -> set[bytes] | None:
        """The names that a directory of the top layer deletes, or None if there is anything else in it."""
        fd, names = self.dir_fd(directory), self.listdir(directory)
        for name in names:
            st = sysfd.lstat_or_none(fd, name)
            if st is not None and not self.is_whiteout(fd, name, st):
                return None
        return set(names)

    def is_whiteout(self, fd: int, name: bytes, st: os.stat_result) -> bool:
        if whiteout.is_whiteout(st):
            return True
        if st.st_size or not stat.S_ISREG(st.st_mode):
            return False
        return self.getxattr(fd, name, self.names.whiteout) is not None

    def getxattr(self, fd: int, name: bytes, key: bytes) -> bytes | None:
        """An attribute of an entry of the top layer, whatever its mode says."""
        return as_owner(fd, name, partial(sysfd.getxattr, fd, name, key))

    def setxattr(self, fd: int, name: bytes, key: bytes, value: bytes) -> None:
        """The same, to set one of the overlay's own: an entry that nobody may write gets it, too."""
        as_owner(fd, name, partial(sysfd.setxattr, fd, name, key, value))

    def removexattr(self, fd: int, name: bytes, key: bytes) -> None:
        as_owner(fd, name, partial(sysfd.removexattr, fd, name, key))

    def place_dir(self, temp: bytes, fd: int, name: bytes, work: int | None = None, flags: int = 0) -> None:
        """Renames a directory out of the work directory: its ".." changes, which takes the permission to write it."""
        work = self.work if work is None else work
        own = os.open(temp, PATH_FLAGS, dir_fd=work)
        try:
            as_owner(own, b"", partial(sysfd.rename, work, temp, fd, name, flags))
        finally:
            os.close(own)

    def marks(self, fd: int, name: bytes, *, is_dir: bool) -> tuple[int, bytes]:
        return read_marks(self.names, partial(self.getxattr, fd, name), is_dir=is_dir)

    def xattrs(self, node: Node) -> dict[bytes, bytes]:
        found = sysfd.all_xattrs(*self.at(node))
        view = self.names.to_view
        return {shown: value for key, value in found.items() if (shown := view(key)) is not None}

    def xattr_names(self, node: Node) -> list[bytes]:
        fd, name = self.at(node)
        with sysfd.suppress_no_xattr():
            found = os.listxattr(sysfd.proc_path(fd, name), follow_symlinks=not name)
            names = (os.fsencode(key) for key in found)
            return [shown for key in names if (shown := self.names.to_view(key)) is not None]
        return []

    # -- changes in the work directory

    def make_whiteout(self, fd: int, name: bytes) -> None:
        """A whiteout under a free name of any directory of this file system, in one step."""
        if self.mknod_whiteouts:
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=fd)
            return
        temp = self.temp()
        os.close(os.open(temp, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=self.work))
        try:
            sysfd.setxattr(self.work, temp, self.names.whiteout, whiteout.OPAQUE)
            sysfd.rename(self.work, temp, fd, name)
        except BaseException:
            self.discard(temp)
            raise

    def replace_by_whiteout(self, fd: int, name: bytes, *, is_dir: bool) -> None:
        """A whiteout in the place of an entry, in one step."""
        temp = self.temp()
        if self.mknod_whiteouts and self._leave_whiteout(fd, name, temp):
            self.discard(temp)
            return
        self.make_whiteout(self.work, temp)
        try:
            sysfd.rename(self.work, temp, fd, name, sysfd.RENAME_EXCHANGE if is_dir else 0)
        except BaseException:
            self.discard(temp)
            raise
        if is_dir:
            self.discard(temp)

    def _leave_whiteout(self, fd: int, name: bytes, temp: bytes) -> bool:
        """Moves an entry to the work directory, a whiteout in its place; False where the file system cannot."""
        try:
            sysfd.rename(fd, name, self.work, temp, sysfd.RENAME_WHITEOUT)
        except OSError as e:
            if e.errno not in (errno.EINVAL, errno.ENOSYS):
                raise
            return False
        return True

    def allow_whiteouts(self, directory: Node) -> None:
        """Marks a directory as one that may hold whiteouts in attribute form, where those are the form in use."""
        if not self.mknod_whiteouts:
            fd = self.dir_fd(directory)
            if sysfd.getxattr(fd, b"", self.names.opaque) is None:
                self.setxattr(fd, b"", self.names.opaque, whiteout.OPAQUE_MAY_HAVE_XATTR_WHITEOUTS)

    def copy_metadata(self, name: bytes, attr: Attr, xattrs: dict[bytes, bytes]) -> None:
        """Gives an entry of the work directory owner, mode, attributes and times; times last, mode after owner."""
        for key, value in xattrs.items():
            self._copy_xattr(name, key, value)
        self.own(self.work, name, attr.uid, attr.gid, attr.mode, attr.rdev)
        if capability := xattrs.get(CAPABILITY):  # which chown(2) has just cleared
            self._copy_xattr(name, CAPABILITY, capability)
        set_times(self.work, name, attr)

    def keep_origin(self, name: bytes, origin: bytes) -> None:
        """Notes in an entry of the work directory which lower inode it is the copy of."""
        try:
            self.setxattr(self.work, name, self.names.origin_ino, origin)
        except OSError as e:
            # No room for attributes, or none on this type of file: only the inode number will change.
            if e.errno not in (errno.EOPNOTSUPP, errno.EPERM, errno.ENOSPC):
                raise

    @contextmanager
    def same_times(self, directory: Node) -> Iterator[int]:
        """The descriptor of a directory, whose times are put back at the end: what entered is no news."""
        fd = self.dir_fd(directory)
        st = os.fstat(fd)
        yield fd
        with suppress(OSError):  # the entry is there: what is left to fail must not deny it
            os.utime(sysfd.proc_path(fd), ns=(st.st_atime_ns, st.st_mtime_ns))

    def _copy_xattr(self, name: bytes, key: bytes, value: bytes) -> None:
        try:
            sysfd.setxattr(self.work, name, self.names.to_disk(key), value)
        except OSError as e:
            # What a layer carries but this file system or this user cannot keep is left behind, as cp -a does.
            if e.errno not in (errno.EOPNOTSUPP, errno.EPERM, errno.EINVAL):
                raise

    def own(self, fd: int, name: bytes, uid: int, gid: int, mode: int, rdev: int = 0) -> None:
        """Sets owner and mode (with its type) of an entry, really or, with `policy.override`, in its attribute."""
        if self.policy.override:
            self._own_by_xattr(fd, name, uid, gid, mode, rdev)
            return
        st = sysfd.lstat(fd, name)
        if (st.st_uid, st.st_gid) != (uid, gid):
            self.chown(fd, name, uid, gid)
            st = sysfd.lstat(fd, name)
        if not stat.S_ISLNK(mode) and stat.S_IMODE(st.st_mode) != stat.S_IMODE(mode):
            sysfd.chmod(fd, name, stat.S_IMODE(mode))

    def _own_by_xattr(self, fd: int, name: bytes, uid: int, gid: int, mode: int, rdev: int) -> None:
        if stat.S_ISLNK(mode):
            return  # Linux keeps no user attributes on symbolic links
        value = override.render(override.Override(uid, gid, mode, rdev))
        sysfd.setxattr(fd, name, self.policy.override, value)
        st = sysfd.lstat(fd, name)
        sysfd.chmod(fd, name, stat.S_IMODE(mode) | (0o700 if stat.S_ISDIR(st.st_mode) else 0o600))

    def chown(self, fd: int, name: bytes, uid: int, gid: int) -> None:
        """chown(2), -1 to leave one; where ids are squashed a refusal is passed over."""
        try:
            sysfd.chown(fd, name, uid, gid)
        except OSError as e:
            lenient = self.policy.ids is not None and self.policy.ids.lenient
            if not (lenient and e.errno in (errno.EPERM, errno.EINVAL)):
                raise

    def attr(self, fd: int, name: bytes, st: os.stat_result, ino: int) -> Attr:
        """What the view shows of an entry, owner ids still as on disk."""
        attr = sysfd.attr_of(st, ino)
        return override.applied(attr, self.policy.override, fd, name) if self.policy.override else attr

    @contextmanager
    def nursery(self, parent: int, *, inherit: bool) -> Iterator[tuple[int, bytes]]:
        """(descriptor, name) where an entry may grow up before it is renamed into `parent`.

        `inherit`: it will be born with what the parent's default ACL gives it.
        """
        name = self.temp()
        if not inherit:
            try:
                yield self.work, name
            except BaseException:
                self.discard(name)
                raise
            return
        os.mkdir(name, 0o700, dir_fd=self.work)
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.work)
        try:
            os.setxattr(fd, DEFAULT_ACL, sysfd.getxattr(parent, b"", DEFAULT_ACL) or b"")
            yield fd, b"new"
        finally:
            os.close(fd)
            self.discard(name)

    def discard(self, name: bytes) -> None:
        """Removes an entry of the work directory; what cannot be removed now goes when it is next opened."""
        workdir.discard(self.work, name)

    def sync_name(self, fd: int) -> None:
        """Makes the names of a directory last, where anything does."""
        if self.syncs:
            real = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
            try:
                os.fsync(real)
            finally:
                os.close(real)


CAPABILITY = b"security.capability"
DEFAULT_ACL = b"system.posix_acl_default"


PATH_FLAGS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def open_rw(fd: int, name: bytes) -> int:
    """O_RDWR whatever the file's mode says: the union has been asked, the kernel has checked the caller."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    if not name:
        return os.open(sysfd.proc_path(fd), flags & ~os.O_NOFOLLOW)
    return as_owner(fd, name, partial(os.open, name, flags, dir_fd=fd))


def as_owner(fd: int, name: bytes, call: Callable[[], T]) -> T:
    """`call`, once more with all permissions of the owner where the mode of an entry refuses it.

    Root is never refused. Another server owns what is in its top layer and may lend itself the permission.
    """
    try:
        return call()
    except PermissionError:
        st = sysfd.lstat(fd, name)
        mode = stat.S_IMODE(st.st_mode)
        if st.st_uid != os.geteuid() or stat.S_ISLNK(st.st_mode) or mode & 0o700 == 0o700:
            raise
        sysfd.chmod(fd, name, mode | 0o700)
        try:
            return call()
        finally:
            sysfd.chmod(fd, name, mode)


def set_times(fd: int, name: bytes, attr: Attr) -> None:
    """Gives an entry the access and modification time of another."""
    sysfd.set_times(fd, name, (attr.atime, attr.atimensec), (attr.mtime, attr.mtimensec))


def _open_dir(path: bytes, what: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as e:
        raise SetupError(f"cannot open the {what} {os.fsdecode(path)}: {e.strerror}") from e
