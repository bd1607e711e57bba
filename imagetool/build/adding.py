"""ADD: what COPY does, and URLs, git repositories, and local archives that are unpacked."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from urllib.parse import urlsplit

from imagetool.archive import tree as layers
from imagetool.archive import unpack as unpacking
from imagetool.archive.writer import LOCAL
from imagetool.build import archives, git
from imagetool.build.content import FilePart, FolderPart, Item, Part, fact, open_file, write
from imagetool.build.copying import Sources, checked, document, found_parts
from imagetool.build.ignore import Ignore
from imagetool.build.trees import Tree
from imagetool.errors import Damaged, UsageError
from imagetool.store import disk
from unionfs.namedtuple import NamedTuple

_URL = re.compile(r"https?://", re.IGNORECASE)
_AT_ONCE = 1 << 20


class UrlPart:
    """What a URL gives: a file of mode 0600, as Docker has it. With a checksum nothing is fetched for the digest."""

    directory = False

    def __init__(self, url: str, checksum: str, work: str) -> None:
        self.name = os.path.basename(urlsplit(url).path) or "__unnamed__"
        self.path = f"{work}/download"
        self._url, self._checksum = url, checksum
        self._mtime: int | None = None
        self._digest = checksum.removeprefix("sha256:") if checksum.startswith("sha256:") else ""

    def fetched(self) -> str:
        """The path of the file, which is there now and right. RegistryError, Damaged."""
        from imagetool.registry.fetch import fetch  # HTTP takes 100 ms to import

        if not os.path.exists(self.path):
            found = fetch(self._url, self.path)
            algorithm, _, wanted = self._checksum.partition(":")
            if wanted and _hash(self.path, algorithm) != wanted:
                os.unlink(self.path)
                raise Damaged(f"digest mismatch: {self._url} is not {self._checksum}")
            self._digest, self._mtime = found.sha256, found.mtime
        return self.path

    def facts(self) -> Iterator[bytes]:
        if not self._digest:
            self.fetched()
        yield fact(self.name, stat.S_IFREG | 0o600, 0, 0, 0, bytes.fromhex(self._digest))

    def items(self) -> Iterator[Item]:
        path = self.fetched()
        yield Item((), stat.S_IFREG | 0o600, 0, 0, (self._mtime or 0) * 10**9, copy=partial(_copy_path, path))


class GitPart(NamedTuple):
    """The files of a repository at a commit."""

    checkout: git.Checkout
    told: str  # what else the files depend on
    ignore: Ignore
    name: str = ""
    directory: bool = True

    def facts(self) -> Iterator[bytes]:
        yield os.fsencode(f"git {self.checkout.commit} {self.told}")

    def items(self) -> Iterator[Item]:
        with Tree(self.checkout.directory) as tree:
            yield from FolderPart(tree, tree.folder(()).without(self.ignore)).items()


class ArchivePart(NamedTuple):
    """The contents of a tar, with the owners that it gives. What is in their way is replaced, as by tar(1)."""

    file: FilePart | UrlPart
    work: str
    name: str = ""
    directory: bool = True

    def facts(self) -> Iterator[bytes]:
        yield b"unpacked"
        yield from self.file.facts()

    def items(self) -> Iterator[Item]:
        tar = f"{self.work}/archive.tar"
        fd = _opened(self.file)
        try:
            with disk.errors(f"cannot unpack {self.file.name}"):
                archives.decompressed(partial(os.read, fd), tar, self.file.name)
            with layers.of_tars([tar]) as tree:
                for item in tree.walk():
                    yield of_layer(tree, item)
        finally:
            os.close(fd)
            disk.unlink(tar)
            disk.unlink(f"{self.work}/archive.idx")


def resolve(
    tree: Tree,
    sources: Sequence[str],
    *,
    work: str,
    excludes: Sequence[str] = (),
    documents: Mapping[str, str] | None = None,
    checksum: str = "",
    keep_git_dir: bool = False,
    unpack: bool | None = None,
) -> Sources:
    """The sources of an ADD, for `copying.apply`. `work` is an empty directory that lives until then: downloads,
    checkouts and archives come there, downloads with a checksum only when they are applied.

    As copying.resolve; RegistryError for a URL, Damaged for a checksum that is not right.
    """
    ignore = Ignore.of(excludes, "--exclude")
    parts: list[Part] = []
    for source in sources:
        repository = None if source.startswith("file://") else git.parse(source)
        if documents and source.startswith("<<"):
            parts.append(document(source, documents))
        elif repository is not None:
            parts.append(
                _of_repository(repository, tempfile.mkdtemp(dir=work), checksum, keep_git_dir, ignore)
            )
        elif _URL.match(source):
            url = UrlPart(source, checksum, tempfile.mkdtemp(dir=work))
            parts.append(_unpacked(url, work) if unpack else url)
        elif checksum:
            raise UsageError(f"--checksum is for URLs and git repositories, not for {source}")
        else:
            found = found_parts(tree, source, ignore)
            parts += found if unpack is False else (_unpacked(part, work) for part in found)
    return checked(parts, sources)


def _of_repository(
    repository: git.Repository, work: str, checksum: str, keep_git_dir: bool, ignore: Ignore
) -> GitPart:
    checkout = git.checkout(repository, work, keep_git_dir=keep_git_dir, keys=False)
    wanted = checksum.partition(":")[2]
    if wanted and not checkout.commit.startswith(wanted):
        raise Damaged(f"digest mismatch: {repository.url} is at the commit {checkout.commit}, not {wanted}")
    told = f"{repository.subdir} {keep_git_dir} {[rule.pattern for rule in ignore.rules]}"
    return GitPart(checkout, told, ignore)


def _unpacked(part: Part, work: str) -> Part:
    """The contents of a file that is an archive; anything else as it is."""
    if not isinstance(part, FilePart | UrlPart) or (
        isinstance(part, FilePart) and not stat.S_ISREG(part.found.stat.st_mode)
    ):
        return part
    fd = _opened(part)
    try:
        if not archives.is_tar(partial(os.read, fd)):
            return part
    finally:
        os.close(fd)
    return ArchivePart(part, tempfile.mkdtemp(dir=work))


def _opened(part: FilePart | UrlPart) -> int:
    if isinstance(part, UrlPart):
        return os.open(part.fetched(), os.O_RDONLY | os.O_CLOEXEC)
    with part.tree.opened(part.found.path[:-1]) as fd:
        return open_file(fd, part.found.path[-1])


def of_layer(tree: layers.Tree, item: layers.Item) -> Item:
    attr = item.attr
    made = Item(
        tuple(map(os.fsdecode, item.path)), attr.mode, attr.uid, attr.gid, attr.mtime * 10**9 + attr.mtimensec,
        attr.rdev, unpacked=True, first=None if item.link is None else tuple(map(os.fsdecode, item.link)),
    )  # fmt: skip
    if item.link is not None:
        return made
    attributes = {key: value for key, value in tree.xattrs(attr.ino).items() if key not in LOCAL}
    made = made._replace(xattrs=lambda: attributes)
    if stat.S_ISREG(attr.mode):
        return made._replace(copy=lambda fd: unpacking.copy(tree.source(attr.ino), fd, item.path))
    if stat.S_ISLNK(attr.mode):
        return made._replace(target=os.fsdecode(tree.readlink(attr.ino)))
    return made


def _hash(path: str, algorithm: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _copy_path(path: str, target: int) -> None:
    with open(path, "rb") as file:
        while data := file.read(_AT_ONCE):
            write(target, data)
