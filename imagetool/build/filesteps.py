"""Steps that change files: COPY, ADD and WORKDIR as facts for the cache, and as what makes the layer."""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from imagetool.build import copying, owners
from imagetool.build.cache import Result
from imagetool.build.copying import CopyOptions, Sources
from imagetool.build.instructions import Transfer
from imagetool.build.job import Job
from imagetool.build.plan import Stage
from imagetool.build.settings import Expand
from imagetool.build.state import State, nop
from imagetool.build.trees import Tree
from imagetool.errors import UsageError
from imagetool.spec.fields import Json
from unionfs.namedtuple import NamedTuple


class Made(NamedTuple):
    """What a step made, and the directory that the layer was packed from, if the next step can stand on it."""

    result: Result
    upper: str | None = None


class FileStep(ABC):
    """A context manager that closes what it opens. `quick` are facts that are known without a look at files."""

    quick: Mapping[str, Json] | None = None

    def __init__(self) -> None:
        self._undo = ExitStack()

    def __enter__(self) -> FileStep:
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    @abstractmethod
    def facts(self) -> Mapping[str, Json]:
        """All that the layer depends on, but for the files below."""

    @abstractmethod
    def done(self, content: str) -> str:
        """Its line in the history, for what was taken in."""

    def content(self) -> str:
        """The digest of what is taken in, if anything is."""
        return ""

    @abstractmethod
    def make(self) -> Made:
        """The layer. Errors of whatever the step does."""


class _Transfer(FileStep):
    """COPY and ADD, expanded already."""

    def __init__(self, job: Job, state: State, item: Transfer, meant: int | str | None) -> None:
        super().__init__()
        self._job, self._state, self._item = job, state, item
        self._source = None if meant is None else job.source(meant)
        self._sources: Sources | None = None
        self._digest = ""
        self._opened: Tree | None = None
        if self._source is not None:
            self.quick = self._what() | {"from": self._source.chain}

    def facts(self) -> Mapping[str, Json]:
        return self._what() | {"content": self.content()}

    def done(self, content: str) -> str:
        """Docker's way to name content, by which its builder finds a step again."""
        name = "ADD" if self._item.add else "COPY"
        kind = "file" if len(self._item.sources) == 1 else "multi"
        return nop(self._state.run.shell, f"{name} {kind}:{content} in {self._item.target} ")

    def make(self) -> Made:
        job, state = self._job, self._state
        self.content()
        if self._item.link or not state.layers:
            upper = job.scratch.directory()
            notes = self._apply(upper)
        else:
            with job.workspace.changing(state) as top:
                notes = self._apply(top.root)
            upper = top.upper
        noted = notes.write(upper)
        result = job.packed(state, upper, noted=noted)
        return Made(result._replace(content=self.content()), None if self._item.link or noted else upper)

    def _apply(self, root: str) -> owners.Notes:
        assert self._sources is not None
        item = self._item
        uid, gid = self._owner()
        notes = owners.Notes(root)
        options = CopyOptions(uid, gid, item.chmod, self._state.run.working_dir or "/", notes.giver)
        with self._tree():
            copying.apply(self._sources, root, item.target, options)
        return notes

    def content(self) -> str:
        """Of all that is copied; for another stage's, too, as its layers may differ in other places."""
        if not self._digest:
            with self._tree() as tree:
                self._sources = self._resolved(tree)
                self._digest = self._sources.digest()
        return self._digest

    def _resolved(self, tree: Tree) -> Sources:
        item = self._item
        documents = {document.name: document.content for document in item.heredocs}
        if not item.add:
            return copying.resolve(
                tree, item.sources, excludes=item.exclude, parents=item.parents, documents=documents
            )
        from imagetool.build import adding

        return adding.resolve(
            tree, item.sources, work=self._job.scratch.directory(), excludes=item.exclude, documents=documents,
            checksum=item.checksum, keep_git_dir=item.keep_git_dir, unpack=item.unpack,
        )  # fmt: skip

    @contextmanager
    def _tree(self) -> Iterator[Tree]:
        """What is copied from: the context, for this stage alone, or the files of another stage or an image."""
        if self._source is None:
            with self._job.tree() as tree:
                yield tree
            return
        if self._opened is None:
            root = self._job.workspace.view(self._source)
            self._opened = self._undo.enter_context(self._job.tree_of(self._source, root))
        yield self._opened

    def _what(self) -> dict[str, Json]:
        item = self._item
        return {
            "copy": item.target, "workdir": self._state.run.working_dir, "names": list(item.sources),
            "chown": item.chown, "chmod": item.chmod, "link": item.link, "parents": item.parents,
            "exclude": list(item.exclude), "add": [item.checksum, item.keep_git_dir, item.unpack] if item.add else None,
        }  # fmt: skip

    def _owner(self) -> tuple[int | None, int | None]:
        """--chown, by the accounts of the image; a number alone is the group's, too."""
        text = self._item.chown
        if not text:
            return None, None
        user, _, group = text.partition(":")
        if user.isdecimal() and (not group or group.isdecimal()):
            return int(user), int(group or user)
        from imagetool.containers.prepare import user_of

        found = user_of(text, self._job.workspace.view(self._state))
        return found.uid, int(user) if user.isdecimal() and not group else found.gid


class _Workdir(FileStep):
    """A working directory that has to be there, and belongs to the USER."""

    def __init__(self, job: Job, state: State, path: str) -> None:
        super().__init__()
        self._job, self._state, self._path = job, state, path

    def facts(self) -> Mapping[str, Json]:
        return {"workdir": self._path, "user": self._state.run.user}

    def done(self, content: str) -> str:
        return nop(self._state.run.shell, f"WORKDIR {self._path}")

    def make(self) -> Made:
        job, state = self._job, self._state
        if not state.layers:
            upper = job.scratch.directory()
            _make_directories(upper, self._path, 0, 0, owners.REAL)
            return Made(job.packed(state, upper), upper)
        from imagetool.containers.prepare import user_of

        with job.workspace.changing(state) as top:
            user = user_of(state.run.user, top.root)
            notes = owners.Notes(top.root)
            _make_directories(top.root, self._path, user.uid, user.gid, notes.giver)
        noted = notes.write(top.upper)
        return Made(job.packed(state, top.upper, noted=noted), None if noted else top.upper)


def transfer(job: Job, stage: Stage, state: State, item: Transfer, full: Expand) -> FileStep:
    """COPY or ADD. UsageError, NotFound, and what else copying and adding raise."""
    documents = tuple(
        one._replace(content=_expanded_text(one.content, state)) if one.expand else one
        for one in item.heredocs
    )
    expanded = item._replace(
        sources=tuple(text if text.startswith("<<") else full(text) for text in item.sources),
        target=full(item.target), heredocs=documents, chown=full(item.chown), chmod=full(item.chmod),
        exclude=tuple(map(full, item.exclude)), checksum=full(item.checksum),
    )  # fmt: skip
    if not item.add and (
        urls := [text for text in expanded.sources if text.startswith(("http://", "https://"))]
    ):
        raise UsageError(f"COPY takes no URLs: {urls[0]!r}", hint="use ADD")
    meant = stage.sources.get(item.stage, item.stage) if item.stage else None
    return _Transfer(job, state, expanded, meant)


def workdir(job: Job, state: State, path: str) -> FileStep:
    return _Workdir(job, state, path)


def _expanded_text(text: str, state: State) -> str:
    from imagetool.build.expand import traced

    return traced(text, state.scope.values(), quotes=False).text


def _make_directories(root: str, path: str, uid: int, gid: int, giver: owners.Giver) -> None:
    """The directory and its parents beneath the root; those that are new belong to the user."""
    from imagetool.runtime.inroot import open_in_root

    top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        names = path.strip("/").split("/")
        for count in range(1, len(names) + 1):
            part = "/".join(names[:count])
            try:
                fd = open_in_root(top, part)
            except FileNotFoundError:
                fd = open_in_root(top, part, make="dir")
                giver.chown(fd, "", uid, gid)
                os.chmod(f"/proc/self/fd/{fd}", 0o755)  # whatever the umask
            is_directory = stat.S_ISDIR(os.fstat(fd).st_mode)
            os.close(fd)
            if not is_directory:
                raise UsageError(f"/{part} is not a directory")
    finally:
        os.close(top)
