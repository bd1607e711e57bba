"""COPY: which files are meant, what they are (a digest), and putting them into a root.

with Memory.open(...) as memory, Tree(context.root, ignore=context.ignore, memory=memory) as tree:
    sources = resolve(tree, ["src", "*.txt"])
    sources.digest()
    apply(sources, root, "/app/", CopyOptions(workdir="/"))
"""

from __future__ import annotations

import errno
import hashlib
import os
import posixpath
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from imagetool.build import places
from imagetool.build.content import Document, FilePart, FolderPart, Part
from imagetool.build.ignore import Ignore
from imagetool.build.owners import REAL, Giver
from imagetool.build.trees import Folder, Found, Names, Tree, clean, split
from imagetool.errors import UsageError
from imagetool.store import disk
from unionfs.annotations import TYPE_CHECKING
from unionfs.namedtuple import NamedTuple

if TYPE_CHECKING:
    from imagetool.build.landing import Looks


class CopyOptions(NamedTuple):
    """How files arrive. For --link, give `apply` an empty directory as the root: no base, no links in the way.

    uid and gid None: 0:0 for what comes from a context, a document or a URL, and their own for what comes from
    a stage, an image (`Tree(..., owners=True)`) or an unpacked archive.
    """

    uid: int | None = None
    gid: int | None = None
    chmod: str = ""  # octal, or symbolic as in chmod(1)
    workdir: str = "/"  # what a relative destination starts from
    giver: Giver = REAL


class Sources:
    """What a COPY or ADD copies, in order. Valid while its Tree is open."""

    def __init__(self, parts: Sequence[Part], *, several: bool) -> None:
        self.parts = tuple(parts)
        self.several = several  # more than one source was written, or may be meant by a wildcard

    def digest(self) -> str:
        """sha256 hex over names, types, modes, owners (where they are kept), contents, link targets, hard links,
        attributes: the same content has the same digest, whatever its times and wherever it is."""
        found = hashlib.sha256()
        for part in self.parts:
            found.update(os.fsencode(f"{'directory' if part.directory else 'file'} {part.name}\0"))
            for fact in part.facts():
                found.update(b"%d " % len(fact))
                found.update(fact)
            found.update(b"\0")
        return found.hexdigest()


def resolve(
    tree: Tree,
    sources: Sequence[str],
    *,
    excludes: Sequence[str] = (),
    parents: bool = False,
    documents: Mapping[str, str] | None = None,
) -> Sources:
    """The sources of a COPY, expanded but with their wildcards. "<<NAME" is the here-document in `documents`.

    NotFound for a source that is not there (or is ignored), UsageError for a bad pattern.
    """
    ignore = Ignore.of(excludes, "--exclude")
    parts: list[Part] = []
    for source in sources:
        if documents and source.startswith("<<"):
            parts.append(document(source, documents))
        elif parents:
            parts.append(_with_parents(tree, source, ignore))
        else:
            parts += found_parts(tree, source, ignore)
    return checked(parts, sources)


def checked(parts: Sequence[Part], sources: Sequence[str]) -> Sources:
    """UsageError if nothing at all was found: each source alone may match nothing, if it has wildcards."""
    if not parts:
        raise UsageError(f"no source files were specified: nothing matches {', '.join(sources)}")
    return Sources(parts, several=len(parts) > 1)


def document(source: str, documents: Mapping[str, str]) -> Document:
    name = source.lstrip("<-").strip("'\"")
    return Document(name, documents[name].encode("utf-8", "surrogateescape"))


def found_parts(tree: Tree, source: str, ignore: Ignore) -> Iterator[Part]:
    """What one source with or without wildcards means."""
    wild = bool(split(clean(source))[1])
    for path in tree.expand(source):
        found = tree.find("/".join(path))
        if ignore and not found.directory and ignore.excludes(found.name):
            continue
        if ignore and wild and ignore.prunes(found.name):
            continue
        yield part_of(tree, found, ignore)


def part_of(tree: Tree, found: Found, ignore: Ignore) -> Part:
    if not found.directory:
        return FilePart(tree, found)
    folder = tree.folder(found.path)
    return FolderPart(tree, folder.without(ignore) if ignore else folder)


def _with_parents(tree: Tree, source: str, ignore: Ignore) -> FolderPart:
    """--parents: all that matches, with the directories from the pivot "/./" (or the root) on the way to it."""
    before, pivot, after = source.partition("/./")
    base = tree.find(before if pivot else "").path
    wanted = tuple(name for name in posixpath.normpath(f"/{after if pivot else source}").split("/") if name)
    if not wanted:
        return FolderPart(tree, tree.folder(base).without(ignore))
    matches = list(tree.matches(base, wanted))
    if not matches and not split(wanted)[1]:
        raise tree.missing(source, ignored=False)
    top = Folder(base, tree.stat(base), implied=True)
    for match in matches:
        _graft(tree, top, match)
    return FolderPart(tree, top.without(ignore) if ignore else top)


def _graft(tree: Tree, top: Folder, match: Names) -> None:
    """Adds a name with all below it, and the directories on the way as such as are only implied."""
    at = top
    for length in range(len(top.path) + 1, len(match)):
        name = match[length - 1]
        if name not in at.folders:
            at.folders[name] = Folder(match[:length], tree.stat(match[:length]), implied=True)
        at = at.folders[name]
        if not at.implied:
            return  # it is there with all that it holds
    info = tree.stat(match)
    if stat.S_ISDIR(info.st_mode):
        at.folders[match[-1]] = tree.folder(match)
    elif match[-1] not in dict(at.others):
        at.others.append((match[-1], info))


def apply(sources: Sources, root: str, destination: str, options: CopyOptions) -> None:
    """Puts them below the directory `root`; no link there leads out of it. Docker's rules for the destination.

    UsageError (several sources need a directory, a directory over a file), NotFound, StoreError, NoSpace.
    """
    from imagetool.build import modes
    from imagetool.build.landing import Looks

    looks = Looks(options.uid, options.gid, modes.parse(options.chmod), options.giver)
    path = posixpath.normpath(
        posixpath.join(options.workdir or "/", destination)
    )  # before links, as Docker does
    into = destination.endswith("/") or posixpath.basename(destination) in ("", ".", "..")
    with disk.errors(f"cannot copy to {destination}"), _as_usage(destination):
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in sources.parts:
                if part.directory:
                    _apply_directory(part, fd, path, looks)
                else:
                    _apply_file(part, fd, path, looks, into=into, several=sources.several)
        finally:
            os.close(fd)


def _apply_directory(part: Part, root: int, path: str, looks: Looks) -> None:
    from imagetool.build.landing import Landing

    with _directory(root, path, looks) as fd, Landing(fd, looks) as landing:
        landing.put_all(part.items())


def _apply_file(part: Part, root: int, path: str, looks: Looks, *, into: bool, several: bool) -> None:
    with places.locate(root, path, make=looks.make) as place:
        there = place.stat()
        is_directory = there is not None and stat.S_ISDIR(there.st_mode)
        if several and not into and not is_directory:
            raise UsageError(
                f"several source files, and {path} is no directory: the destination must end with a /"
            )
        if not into and not is_directory:
            _put_file(part, place.parent, place.name, looks)
            return
    with _directory(root, path, looks) as fd:
        _put_file(part, fd, part.name, looks)


def _put_file(part: Part, parent: int, name: str, looks: Looks) -> None:
    from imagetool.build.landing import Landing

    with Landing(parent, looks) as landing:
        for item in part.items():
            landing.put_file(item, name)


@contextmanager
def _directory(root: int, path: str, looks: Looks) -> Iterator[int]:
    """The directory at `path`, made with its parents if it is missing."""
    with places.locate(root, path, make=looks.make, directory=True) as place:
        yield place.parent


@contextmanager
def _as_usage(destination: str) -> Iterator[None]:
    """A destination that leads through a file, or in a circle of links, is a mistake in the Dockerfile."""
    try:
        yield
    except NotADirectoryError as error:
        text = f"cannot copy to non-directory: {error.filename} is no directory"
        raise UsageError(f"{text}, in {destination}") from error
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise UsageError(f"cannot copy to {destination}: too many symbolic links") from error
