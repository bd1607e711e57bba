"""UnionTree: the union as it changes. Every method is one change, whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from unionfs import sysfd, whiteout
from unionfs.errors import UnionError
from unionfs.listing import Listing
from unionfs.merge import Removal, removal
from unionfs.model import Attr, Caller, Change
from unionfs.namedtuple import NamedTuple
from unionfs.node import Births, Node
from unionfs.rename import Renaming
from unionfs.upper import CAPABILITY
from unionfs.view import ACLS


class Born(NamedTuple):
    """Mode (with the type), owner as on disk, and device number of an inode that is to be."""

    mode: int
    uid: int
    gid: int
    rdev: int = 0


Make = Callable[[int, bytes, int], int]
"""Creates an entry: (directory descriptor, name, permissions) -> an O_RDWR descriptor of it, or -1."""


class UnionTree(Renaming):
    """The union with all its operations, for both drivers."""

    # -- creation

    def mknod(self, parent: int, name: bytes, mode: int, rdev: int, caller: Caller) -> Attr:
        if stat.S_ISCHR(mode) and rdev == whiteout.WHITEOUT_DEV:
            raise UnionError(errno.EPERM, "a character device 0:0 would be a whiteout")
        fmt = stat.S_IFMT(mode) or stat.S_IFREG
        plain = self.policy.override and not stat.S_ISREG(fmt)

        def make(fd: int, at: bytes, perm: int) -> int:
            if fmt == stat.S_IFREG or plain:
                return os.open(at, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, perm, dir_fd=fd)
            os.mknod(at, fmt | perm, rdev, dir_fd=fd)
            return -1

        return self._create(parent, name, fmt | stat.S_IMODE(mode), caller, make, rdev)

    def mkdir(self, parent: int, name: bytes, mode: int, caller: Caller) -> Attr:
        def make(fd: int, at: bytes, perm: int) -> int:
            os.mkdir(at, perm & 0o1777, dir_fd=fd)
            return -1

        return self._create(parent, name, stat.S_IFDIR | stat.S_IMODE(mode), caller, make)

    def symlink(self, parent: int, name: bytes, target: bytes, caller: Caller) -> Attr:
        def make(fd: int, at: bytes, perm: int) -> int:
            os.symlink(target, at, dir_fd=fd)
            return -1

        return self._create(parent, name, stat.S_IFLNK | 0o777, caller, make)

    def _create(
        self,
        parent: int,
        name: bytes,
        mode: int,
        caller: Caller,
        make: Make,
        rdev: int = 0,
    ) -> Attr:
        directory = self.nodes[parent]
        if not directory.upper or directory.fmt != stat.S_IFDIR:
            self._make_room(directory)
        born = self._born(directory, mode, caller, rdev)
        made = -2
        if self._may_make_directly(directory, name, born):
            try:
                made = make(self.top.dir_fd(directory), name, born.mode & 0o7777)
            except FileExistsError:
                made = -2  # perhaps it is a whiteout
        if made == -2:
            self._place(parent, name)
            made = self._make_aside(directory, name, born, make)
        return self._entered(directory, name, made)

    def _make_room(self, directory: Node) -> None:
        _ = self.top
        if not directory.is_dir:
            raise UnionError(errno.ENOTDIR)
        self.ensure_upper(directory)

    def _place(self, parent: int, name: bytes) -> Node:
        """The directory, in the top layer, in which `name` is free."""
        directory = self.nodes[parent]
        if self.find(directory, name) is not None:
            raise UnionError(errno.EEXIST)
        self._make_room(directory)
        return directory

    def _born(self, directory: Node, mode: int, caller: Caller, rdev: int = 0) -> Born:
        """What a new inode is to be (inode(7), SVr4)."""
        births = directory.births or self._births(directory)
        uid, gid = self._to_disk(caller.uid, caller.gid)
        if births.setgid:
            gid = births.gid
            if stat.S_ISDIR(mode):
                mode |= stat.S_ISGID
        if not (births.default_acl or stat.S_ISLNK(mode)):
            mode &= ~caller.umask
        return Born(mode, uid, gid, rdev)

    def _births(self, directory: Node) -> Births:
        if directory.births is None:
            attr = self.attr(directory)
            acl = self.policy.acl and bool(sysfd.getxattr(self.top.dir_fd(directory), b"", ACLS[1]))
            directory.births = Births(bool(attr.mode & stat.S_ISGID), attr.gid, acl)
        return directory.births

    def _to_disk(self, uid: int, gid: int) -> tuple[int, int]:
        return (uid, gid) if self.policy.ids is None else self.policy.ids.to_disk(uid, gid)

    def _may_make_directly(self, directory: Node, name: bytes, born: Born) -> bool:
        """Whether one system call gives the new entry the right owner and mode: then it needs no second name."""
        if self.policy.override or (born.uid, born.gid) != self.top.owner:
            return False
        if born.mode & (stat.S_ISGID | stat.S_ISUID | stat.S_ISVTX):
            return False
        # What lies below is there, which is an error, or deleted, and then a directory must hide it as it appears.
        return not self.in_lower(directory, name)

    def _make_aside(self, directory: Node, name: bytes, born: Born, make: Make) -> int:
        """Makes an entry in the work directory and puts it where a whiteout, or nothing, is."""
        top, fd = self.top, self.top.dir_fd(directory)
        with top.nursery(fd, inherit=self._births(directory).default_acl) as (work, temp):
            made = make(work, temp, stat.S_IMODE(born.mode))
            try:
                self._dress_and_place(directory, name, born, work, temp)
            except BaseException:
                if made >= 0:
                    os.close(made)
                raise
        return made

    def _dress_and_place(self, directory: Node, name: bytes, born: Born, work: int, temp: bytes) -> None:
        top, fd = self.top, self.top.dir_fd(directory)
        mode = _inherited(sysfd.lstat(work, temp).st_mode, born.mode)
        top.own(work, temp, born.uid, born.gid, mode, born.rdev)
        if stat.S_ISDIR(mode) and self.in_lower(directory, name):
            top.setxattr(work, temp, top.names.opaque, whiteout.OPAQUE)
        if stat.S_ISDIR(mode) and sysfd.lstat_or_none(fd, name) is not None:
            top.place_dir(temp, fd, name, work, sysfd.RENAME_EXCHANGE)
            top.discard(temp)
        elif stat.S_ISDIR(mode):
            top.place_dir(temp, fd, name, work)
        else:
            sysfd.rename(work, temp, fd, name)

    def _entered(self, directory: Node, name: bytes, made: int) -> Attr:
        """The node of an entry that has just been made, with one lookup counted."""
        top = self.top
        fd = top.dir_fd(directory)
        st = os.fstat(made) if made >= 0 else sysfd.lstat(fd, name)
        ino = self._disk_ino(st)
        if ino in self.nodes:
            ino = self._odd_ino((ino, directory.ino, name))
        attr = top.attr(fd, name, st, ino)
        node = Node(ino, attr.mode & 0o170000)
        births = directory.births or self._births(directory)
        if node.fmt == stat.S_IFDIR:
            node.listing = Listing(())
        self.nodes.settle(node, st.st_ino)
        node.bare = not births.default_acl and not self.policy.override
        self.nodes.enter(node, directory, name)
        if made >= 0:
            top.give_fd(node, made)
        if directory.listing is not None:
            directory.listing.add(name)
        return attr if self.policy.ids is None else self.shown(attr)

    def tmpfile(self, parent: int, mode: int, caller: Caller) -> Attr:
        """An inode without a name (O_TMPFILE), which `link` can give one."""
        directory = self.nodes[parent]
        self.ensure_upper(directory)
        top = self.top
        born = self._born(directory, stat.S_IFREG | stat.S_IMODE(mode), caller)
        flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
        with top.nursery(top.dir_fd(directory), inherit=self._births(directory).default_acl) as (work, _):
            fd = os.open(b".", flags, stat.S_IMODE(born.mode), dir_fd=work)
        try:
            st = os.fstat(fd)
            top.own(fd, b"", born.uid, born.gid, _inherited(st.st_mode, born.mode))
            node = Node(self._disk_ino(st), stat.S_IFREG)
        except BaseException:
            os.close(fd)
            raise
        self.nodes.settle(node, st.st_ino)
        node.fd = fd
        self.nodes[node.ino] = node
        self.nodes.idle[node] = None
        self.nodes.remember(node.ino)
        return self.getattr(node.ino)

    def link(self, ino: int, parent: int, name: bytes) -> Attr:
        node = self.nodes[ino]
        if node.is_dir:
            raise UnionError(errno.EPERM)
        directory = self._place(parent, name)
        self.bring_up(node)
        top, fd = self.top, self.top.dir_fd(directory)
        try:
            self._link(node, fd, name)
        except FileExistsError:  # a whiteout
            temp = top.temp()
            self._link(node, top.work, temp)
            try:
                sysfd.rename(top.work, temp, fd, name)
            except BaseException:
                top.discard(temp)
                raise
        if node.parent is None:
            top.give_fd(node, node.fd)
        self.nodes.add_name(node, directory, name)
        if directory.listing is not None:
            directory.listing.add(name)
        self.nodes.remember(ino)
        return self.getattr(ino)

    def _link(self, node: Node, fd: int, name: bytes) -> None:
        source, at = self.top.at(node)
        if at:
            os.link(at, name, src_dir_fd=source, dst_dir_fd=fd, follow_symlinks=False)
        else:
            os.link(sysfd.proc_path(source), name, dst_dir_fd=fd, follow_symlinks=True)

    # -- removal

    def unlink(self, parent: int, name: bytes) -> None:
        directory = self.nodes[parent]
        _ = self.top
        node, attr = self.resolve(directory, name)
        if node.is_dir:
            raise UnionError(errno.EISDIR)
        self._remove(directory, name, node, attr)

    def rmdir(self, parent: int, name: bytes) -> None:
        directory = self.nodes[parent]
        _ = self.top
        node, attr = self.resolve(directory, name)
        if not node.is_dir:
            raise UnionError(errno.ENOTDIR)
        if not self.is_empty(node):
            raise UnionError(errno.ENOTEMPTY)
        self._remove(directory, name, node, attr)

    def _remove(self, directory: Node, name: bytes, node: Node, attr: Attr) -> None:
        top = self.top
        plan = removal(in_upper=node.upper, in_lower=not node.upper or self.in_lower(directory, name))
        self.ensure_upper(directory)
        self._before_departure(node, attr)
        fd = top.dir_fd(directory)
        match plan:
            case Removal.REMOVE:
                self._remove_upper(fd, name, node.is_dir)
            case Removal.REPLACE:
                top.allow_whiteouts(directory)
                top.replace_by_whiteout(fd, name, is_dir=node.is_dir)
            case Removal.WHITEOUT:
                top.allow_whiteouts(directory)
                top.make_whiteout(fd, name)
        self._departed(directory, name, node, attr)
        if directory.listing is not None:
            directory.listing.discard(name)

    def _remove_upper(self, fd: int, name: bytes, directory: bool) -> None:
        if not directory:
            os.unlink(name, dir_fd=fd)
            return
        try:
            os.rmdir(name, dir_fd=fd)
        except OSError as e:
            if e.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            temp = self.top.temp()  # it looks empty: only whiteouts are left in it
            sysfd.rename(fd, name, self.top.work, temp)
            self.top.discard(temp)

    # -- attributes

    def setattr(self, ino: int, change: Change) -> Attr:
        mode, uid, gid, size, atime, mtime, _, kill_suidgid = change
        node = self.nodes[ino]
        if mode is not None and node.fmt == stat.S_IFLNK:
            raise UnionError(errno.EOPNOTSUPP, "chmod(2) would follow the link")  # asked by Linux before 6.6
        truncated = not node.is_whole and self.copy_up(node, data=size is not None, size=size)
        top = self.top
        if size is not None and not truncated:
            truncate(top.file_fd(node), size)
        fd, name = top.at(node)
        if uid is not None or gid is not None or mode is not None:
            node.births = None
            self._change_owner(node, fd, name, change)
        if atime is not None or mtime is not None:
            sysfd.set_times(fd, name, atime, mtime)
        attr = self.attr(node)
        if kill_suidgid and node.fmt == stat.S_IFREG and self._kill_suidgid(node, attr):
            attr = self.attr(node)
        return attr if self.policy.ids is None else self.shown(attr)

    def _change_owner(self, node: Node, fd: int, name: bytes, change: Change) -> None:
        uid, gid = self._to_disk(change.uid or 0, change.gid or 0)
        uid, gid = -1 if change.uid is None else uid, -1 if change.gid is None else gid
        if self.policy.override:
            attr = self.attr(node)
            mode = attr.mode if change.mode is None else node.fmt | stat.S_IMODE(change.mode)
            uid, gid = attr.uid if uid < 0 else uid, attr.gid if gid < 0 else gid
            self.top.own(fd, name, uid, gid, mode, attr.rdev)
            return
        if uid >= 0 or gid >= 0:
            self.top.chown(fd, name, uid, gid)
        if change.mode is not None:
            sysfd.chmod(fd, name, stat.S_IMODE(change.mode))

    def kill_suidgid(self, node: Node) -> None:
        """Clears what a change by somebody else than root must not leave (inode(7); FUSE_HANDLE_KILLPRIV_V2)."""
        self._kill_suidgid(node, self.attr(node))

    def _kill_suidgid(self, node: Node, attr: Attr) -> bool:
        """The same, with what is known already; whether there was anything to clear."""
        mode = killed(attr.mode)
        if mode == attr.mode and node.bare:
            return False
        fd, name = self.top.at(node)
        if mode != attr.mode:
            self.top.own(fd, name, attr.uid, attr.gid, mode, attr.rdev)
        if sysfd.getxattr(fd, name, CAPABILITY) is not None:  # removing none takes a privilege all the same
            sysfd.removexattr(fd, name, CAPABILITY)
        return True

    def setxattr(self, ino: int, name: bytes, value: bytes, flags: int = 0) -> None:
        self.check_xattr(name)
        node = self.nodes[ino]
        self.copy_up(node, data=False)
        fd, at = self.top.at(node)
        node.bare = False
        sysfd.setxattr(fd, at, self.top.names.to_disk(name), value, flags)
        node.births = None

    def removexattr(self, ino: int, name: bytes) -> None:
        self.check_xattr(name)
        node = self.nodes[ino]
        self.getxattr(ino, name)
        self.copy_up(node, data=False)
        sysfd.removexattr(*self.top.at(node), self.top.names.to_disk(name))
        node.births = None


def _inherited(made: int, wanted: int) -> int:
    """The mode that a new inode is to have: a default ACL has had its say in the permissions it was made with."""
    return (made & 0o777) | (wanted & ~0o777)


def truncate(fd: int, size: int) -> None:
    """ftruncate(2), but what has the size already is left alone: whether it counts as changed is the caller's say."""
    if os.fstat(fd).st_size != size:
        os.ftruncate(fd, size)


def killed(mode: int) -> int:
    """A mode without setuid, and without setgid where it would be honoured."""
    mode &= ~stat.S_ISUID
    return mode & ~stat.S_ISGID if mode & stat.S_IXGRP else mode
