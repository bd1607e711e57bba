"""A directory that files are copied from, a context or a root: looked at once, and never left.

Literal names are found as if the directory were "/", links and all; what wildcards and directories bring along is
taken as it is, links not followed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from imagetool.build import places
from imagetool.build.glob import compiled, match
from imagetool.build.ignore import Ignore, Matches
from imagetool.build.memory import Memory
from imagetool.errors import ImageToolError, NotFound
from unionfs.annotations import Protocol, Self
from unionfs.namedtuple import NamedTuple

Names = tuple[str, ...]
"""A path from the tree's root, without links and without "..". """

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BLOCK = 512  # of a tar


class OwnersOf(Protocol):
    """Knows whose files are, where the file system does not."""

    def owner(self, path: Names) -> tuple[int, int]: ...

    def close(self) -> None: ...


class Folder:
    """A directory with all that is in it and not ignored, in the order of names. Sockets are passed over."""

    __slots__ = ("folders", "implied", "others", "path", "stat")

    def __init__(self, path: Names, info: os.stat_result, *, implied: bool = False) -> None:
        self.path = path
        self.stat = info
        self.others: list[tuple[str, os.stat_result]] = []
        self.folders: dict[str, Folder] = {}
        self.implied = implied  # only there for what it holds

    def walk(self) -> Iterator[Folder]:
        """This one and all below, each before those in it."""
        todo = [self]
        while todo:
            folder = todo.pop()
            yield folder
            todo += reversed(folder.folders.values())

    def without(self, ignore: Ignore, path: str = "", matches: Matches = ()) -> Folder:
        """The same, without what `ignore` excludes of the paths below here."""
        left = Folder(self.path, self.stat, implied=self.implied)
        left.others = [row for row in self.others if not ignore.below(path + row[0], matches)[0]]
        for name, folder in self.folders.items():
            excluded, inner = ignore.below(path + name, matches)
            if not (excluded and ignore.prunes(path + name)):
                below = folder.without(ignore, f"{path}{name}/", inner)
                if not excluded or below.others or below.folders:
                    left.folders[name] = below
        return left


class Found(NamedTuple):
    """What a source means. `name` is the last one that was asked for, `path` where that led."""

    name: str
    path: Names
    stat: os.stat_result

    @property
    def directory(self) -> bool:
        return stat.S_ISDIR(self.stat.st_mode)


class Tree:
    """A context manager. `shown`: the path that errors name, if it means something to people. `owners`: files
    keep their owners when they are copied (stages and images)."""

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        ignore: Ignore | None = None,
        memory: Memory | None = None,
        shown: str = "",
        owners: bool | OwnersOf = False,
    ) -> None:
        self.root = os.fspath(root)
        self.shown = shown
        self.ignore = ignore or Ignore()
        self.memory = memory or Memory()
        self._owners = owners
        self._fd = -1
        self._scanned: dict[Names, Folder] = {}

    def __enter__(self) -> Self:
        with reading(self.root):
            self._fd = os.open(self.root, _DIRECTORY & ~os.O_NOFOLLOW)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)
        if not isinstance(self._owners, bool):
            self._owners.close()

    def owner(self, path: Names, info: os.stat_result) -> tuple[int, int]:
        """Whose a file is when it is copied."""
        if isinstance(self._owners, bool):
            return (info.st_uid, info.st_gid) if self._owners else (0, 0)
        return self._owners.owner(path)

    def transfer_size(self) -> int:
        """Bytes of a tar of all that is not ignored: what "Sending build context" shows."""
        size = 2 * _BLOCK
        for folder in self.folder(()).walk():
            size += _BLOCK * (len(folder.others) + len(folder.folders))
            size += sum(
                -row[1].st_size // _BLOCK * -_BLOCK for row in folder.others if stat.S_ISREG(row[1].st_mode)
            )
        return size

    def find(self, source: str) -> Found:
        """A source without wildcards; links are followed. NotFound."""
        asked = clean(source)
        with reading(source), places.locate(self._fd, "/".join(asked)) as place:
            info = place.stat()
            if info is None or not self._takes_part(asked, info) or not self._takes_part(place.path, info):
                raise self.missing(source, ignored=info is not None)
            return Found(asked[-1] if asked else "", place.path, info)

    def expand(self, pattern: str) -> list[Names]:
        """What a source with wildcards matches, in the order of names. BadPattern. The links in front of the first
        wildcard are followed; what is found may itself be one."""
        fixed, wild = split(clean(pattern))
        if not wild:
            return [fixed]
        match("/".join(wild), "")  # a bad pattern is one, whatever there is
        try:
            with places.locate(self._fd, "/".join(fixed)) as place:
                start = place.path
        except (FileNotFoundError, NotADirectoryError):
            return []
        return list(self.matches(start, wild))

    def matches(self, start: Names, wild: Names) -> Iterator[Names]:
        """What matches below the directory `start`; no links are followed."""
        if any("**" in part for part in wild):
            yield from self._match_anywhere(start, "/".join(wild))
            return
        for name in self._names(start):
            if match(wild[0], name):
                path = (*start, name)
                if len(wild) == 1:
                    info = self.stat(path)
                    if self._takes_part(path, info) and not stat.S_ISSOCK(info.st_mode):
                        yield path
                elif stat.S_ISDIR(self.stat(path).st_mode):
                    yield from self.matches(path, wild[1:])

    def folder(self, path: Names) -> Folder:
        """A directory with all below it. It must be one; NotFound if everything about it is ignored."""
        for length in range(len(path), -1, -1):
            if (found := self._scanned.get(path[:length])) is not None:
                for name in path[length:]:
                    if name not in found.folders:
                        raise self.missing("/".join(path), ignored=True)
                    found = found.folders[name]
                return found
        with reading("/".join(path) or self.root):
            return self._scanned.setdefault(path, self._scan(path))

    def stat(self, path: Names) -> os.stat_result:
        """lstat(2). NotFound."""
        with reading("/".join(path)), self.opened(path[:-1]) as fd:
            return os.stat(path[-1], dir_fd=fd, follow_symlinks=False) if path else os.fstat(fd)

    @contextmanager
    def opened(self, path: Names) -> Iterator[int]:
        """A descriptor of a directory, for reading. No link is followed on the way."""
        with reading("/".join(path) or self.root):
            fd = os.dup(self._fd)
            try:
                for name in path:
                    below = os.open(name, _DIRECTORY, dir_fd=fd)
                    os.close(fd)
                    fd = below
                yield fd
            finally:
                os.close(fd)

    def _takes_part(self, path: Names, info: os.stat_result) -> bool:
        if not path or not self.ignore:
            return True
        text = "/".join(path)
        return not (self.ignore.prunes(text) if stat.S_ISDIR(info.st_mode) else self.ignore.excludes(text))

    def missing(self, source: str, *, ignored: bool) -> NotFound:
        """The error for a source."""
        hint = f"it is looked for in {self.shown}" if self.shown else ""
        if ignored:
            hint = "the rules of .dockerignore exclude it"
        return NotFound(f'failed to compute cache key: "/{source.strip("/")}": not found', hint=hint)

    def _names(self, path: Names) -> list[str]:
        with self.opened(path) as fd:
            return sorted(os.listdir(fd))

    def _match_anywhere(self, start: Names, pattern: str) -> Iterator[Names]:
        regex = compiled(pattern)
        todo = [(self.folder(start), "")]
        while todo:
            folder, path = todo.pop()
            yield from ((*folder.path, row[0]) for row in folder.others if regex.fullmatch(path + row[0]))
            below = []
            for name, inner in folder.folders.items():
                if regex.fullmatch(path + name):
                    yield inner.path
                else:
                    below.append((inner, f"{path}{name}/"))
            todo += reversed(below)

    def _scan(self, path: Names) -> Folder:
        """Without recursion: trees can be deeper than the stack."""
        matches: Matches = ()
        for length in range(1, len(path) + 1 if self.ignore else 0):
            matches = self.ignore.below("/".join(path[:length]), matches)[1]
        with self.opened(path) as top:
            folder = Folder(path, os.fstat(top))
            todo = [(folder, os.dup(top), self._list(folder, top, matches))]
            try:
                while todo:
                    parent, fd, rows = todo[-1]
                    if (row := next(rows, None)) is None:
                        os.close(todo.pop()[1])
                        continue
                    name, excluded, inner = row
                    below = os.open(name, _DIRECTORY, dir_fd=fd)
                    child = Folder((*parent.path, name), os.fstat(below))
                    todo.append((child, below, self._list(child, below, inner)))
                    parent.folders[name] = child
                    if excluded:
                        child.implied = True
            finally:
                for _, fd, _ in todo:
                    os.close(fd)
        if not self.ignore:
            return folder
        return _without_empty(folder)

    def _list(self, folder: Folder, fd: int, matches: Matches) -> Iterator[tuple[str, bool, Matches]]:
        """Takes the files of a directory down; gives (name, excluded, matches) of those in it that may be walked."""
        ignore = self.ignore
        prefix = "".join(f"{name}/" for name in folder.path)
        below: list[tuple[str, bool, Matches]] = []
        excluded, inner = False, matches
        with os.scandir(fd) as entries:
            for entry in entries:
                if ignore:
                    excluded, inner = ignore.below(prefix + entry.name, matches)
                if entry.is_dir(follow_symlinks=False):
                    if not (excluded and ignore.prunes(prefix + entry.name)):
                        below.append((entry.name, excluded, inner))
                elif not excluded:
                    info = entry.stat(follow_symlinks=False)
                    if not stat.S_ISSOCK(info.st_mode):
                        folder.others.append((entry.name, info))
        folder.others.sort(key=_first)
        below.sort(key=_first)
        return iter(below)


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turns an OSError from within into NotFound or ImageToolError."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(f'failed to compute cache key: "/{what.strip("/")}": not found') from error
    except OSError as error:
        name = (
            f"{os.fsdecode(error.filename)}: "
            if error.filename and not isinstance(error.filename, int)
            else ""
        )
        raise ImageToolError(f"cannot read {what}: {name}{error.strerror}") from error


def _first(row: tuple[str, object] | tuple[str, bool, Matches]) -> str:
    return row[0]


def _without_empty(folder: Folder) -> Folder:
    """Drops the directories that are excluded themselves and turned out to hold nothing that is not."""
    for parent in reversed(list(folder.walk())):
        for name, child in list(parent.folders.items()):
            if child.implied and not child.others and not child.folders:
                del parent.folders[name]
    return folder


def clean(source: str) -> Names:
    """The names of a path; ".." stops at the root, as in Docker."""
    names: list[str] = []
    for name in source.split("/"):
        if name == "..":
            del names[-1:]
        elif name not in ("", "."):
            names.append(name)
    return tuple(names)


def split(names: Names) -> tuple[Names, Names]:
    """What comes before the first wildcard, and the rest."""
    for at, name in enumerate(names):
        if any(char in name for char in "*?[\\"):
            return names[:at], names[at:]
    return names, ()
