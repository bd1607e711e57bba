"""Build contexts: a directory, a tar or a Dockerfile on standard input, a git repository, a URL of a tar.

Each becomes a directory of this machine for as long as the build lasts.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from imagetool.build.ignore import Ignore
from imagetool.build.places import locate
from imagetool.errors import ImageToolError, NotFound, UsageError
from imagetool.runtime.inroot import read_in_root
from imagetool.store import disk
from unionfs.annotations import BinaryIO
from unionfs.namedtuple import NamedTuple

NAMES = ("Dockerfile", "dockerfile", "Containerfile")
"""What is looked for without -f, in this order."""

_MAX = 4 << 20  # bytes of a Dockerfile or .dockerignore
_URL = re.compile(r"https?://", re.IGNORECASE)


class Context(NamedTuple):
    """What a build reads. Nothing that `ignore` excludes takes part; give it to `Tree` with `root`."""

    root: Path
    dockerfile: str  # its text
    dockerfile_name: str  # as messages show it
    ignore: Ignore
    lasting: bool  # a directory that will be there at the next build: digests of its files are worth keeping


def _temporary() -> str:
    return os.path.join(tempfile.gettempdir(), f"imagetool-context-{os.urandom(8).hex()}")


@contextmanager
def open_context(
    spec: str,
    dockerfile: str | None = None,
    stdin: BinaryIO | None = None,
    *,
    temporary: Callable[[], str] = _temporary,
) -> Iterator[Context]:
    """`spec` is the argument of `build`: a directory, "-", a git repository with `#ref:subdir`, or a URL.

    `dockerfile` is `-f`: "-" is standard input; a path is relative to here for a directory, else to the context.
    `temporary` gives a path that nobody else uses, for what has to be fetched or unpacked.
    NotFound, UsageError, Malformed, Damaged, RegistryError.
    """
    if spec == "-" and dockerfile == "-":
        raise UsageError("standard input cannot be both the build context and the Dockerfile")
    if os.path.isdir(spec) and (os.path.exists(f"{spec}/Dockerfile") or not _is_bare(spec)):
        yield _lasting(os.path.abspath(spec), dockerfile, stdin)
        return
    work = temporary()
    with disk.errors("cannot make a directory for the context"):
        os.mkdir(work, 0o700)
    try:
        yield _fetched(spec, dockerfile, stdin, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _is_bare(spec: str) -> bool:
    """Whether a directory is a git repository whose files have to be checked out."""
    from imagetool.build import git

    return git.local(spec) is not None


def _lasting(root: str, dockerfile: str | None, stdin: BinaryIO | None) -> Context:
    if dockerfile is None or dockerfile == "-":
        return _inside(root, dockerfile, stdin, lasting=True)
    path = dockerfile
    if not os.path.isabs(path) and not os.path.exists(path):
        path = os.path.join(root, path)
    try:
        with open(path, "rb") as file:
            text = _text(file.read(_MAX + 1), dockerfile)
        beside = f"{path}.dockerignore"
        if os.path.isfile(beside):
            with open(beside, "rb") as file:
                rules = Ignore.parse(_text(file.read(_MAX + 1), beside), beside)
            return Context(Path(root), text, dockerfile, rules, lasting=True)
    except OSError as error:
        raise NotFound(f"cannot read the Dockerfile {dockerfile}: {error.strerror}") from error
    return Context(Path(root), text, dockerfile, _ignore(root), lasting=True)


def _fetched(spec: str, dockerfile: str | None, stdin: BinaryIO | None, work: str) -> Context:
    """A context that is not a directory yet."""
    if spec == "-":
        return _from_stream(_standard_input(stdin).read, dockerfile, stdin, work, "standard input")
    from imagetool.build import git

    repository = git.parse(spec) or git.local(spec)
    if repository is not None:
        root = git.checkout(repository, work).directory
        return _inside(root, dockerfile, stdin)
    if _URL.match(spec):
        from imagetool.registry.fetch import fetch

        path = f"{work}/download"
        fetch(spec, path)
        with open(path, "rb") as file:
            return _from_stream(file.read, dockerfile, stdin, work, spec)
    if os.path.lexists(spec):
        raise UsageError(f"the build context {spec} is not a directory", hint="to send a tar, use - < FILE")
    raise NotFound(f"unable to prepare context: path {spec!r} not found")


def _from_stream(
    read: Callable[[int], bytes], dockerfile: str | None, stdin: BinaryIO | None, work: str, what: str
) -> Context:
    """A tar is a context, anything else a Dockerfile without one."""
    from imagetool.build import archives

    head = read(archives.HEAD)
    if not archives.is_archive(head):
        text = _text(head + read(_MAX), what)
        if dockerfile not in (None, "-"):
            raise UsageError(f"{what} is a Dockerfile and no context", hint="leave out -f, or send a tar")
        empty = f"{work}/empty"
        os.mkdir(empty)
        return Context(Path(empty), text, NAMES[0], Ignore(), lasting=False)
    first = [head]
    root = archives.unpacked(
        lambda size: first.pop() if first else read(size), work, f"the context from {what}"
    )
    return _inside(root, dockerfile, stdin)


def _inside(root: str, dockerfile: str | None, stdin: BinaryIO | None, *, lasting: bool = False) -> Context:
    """The Dockerfile is standard input, or a file of the context, read without leaving it."""
    if dockerfile == "-":
        text = _text(_standard_input(stdin).read(_MAX + 1), "standard input")
        return Context(Path(root), text, NAMES[0], _ignore(root), lasting)
    for name in NAMES if dockerfile is None else (dockerfile,):
        data = _read(root, name)
        if data is not None:
            return Context(Path(root), _text(data, name), name, _ignore(root, name), lasting)
    if dockerfile is not None:
        raise NotFound(f"the context has no file {dockerfile}")
    if os.path.lexists(f"{root}/{NAMES[0]}"):
        raise NotFound(f"{root}/{NAMES[0]} leads to nothing in the context", hint="give its target with -f")
    raise NotFound(f"failed to read dockerfile: {root} has no Dockerfile", hint="give its name with -f")


def _ignore(root: str, dockerfile: str = "") -> Ignore:
    """The rules beside the Dockerfile, else those of the context."""
    for name in chain([f"{dockerfile}.dockerignore"] if dockerfile else [], [".dockerignore"]):
        data = _read(root, name)
        if data is not None:
            return Ignore.parse(_text(data, name), name)
    return Ignore()


def _read(root: str, name: str) -> bytes | None:
    """A file of the context; None if there is none."""
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with locate(fd, name) as place:
            if place.stat() is None:
                return None
        return read_in_root(fd, name, _MAX)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ImageToolError(f"cannot read {name}: {error.strerror}") from error
    finally:
        os.close(fd)


def _standard_input(stdin: BinaryIO | None) -> BinaryIO:
    if stdin is None or stdin.isatty():
        raise UsageError("standard input is a terminal", hint="redirect a Dockerfile or a tar into it")
    return stdin


def _text(data: bytes, what: str) -> str:
    if len(data) > _MAX:
        raise UsageError(f"{what} is larger than {_MAX >> 20} MiB, which is no Dockerfile")
    if b"\0" in data:
        raise UsageError(f"{what} is not text")
    return data.decode("utf-8", "surrogateescape")
