"""Build contexts: a directory, a tar or a Dockerfile on standard input, a git repository, a URL of a tar.

Each becomes a directory of this machine for as long as the build lasts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from imagetool.build.ignore import Ignore


class Context(NamedTuple):
    """What a build reads. Nothing that `ignore` excludes takes part; give it to `Tree` with `root`."""

    root: Path
    dockerfile: str  # its text
    dockerfile_name: str  # as messages show it
    ignore: Ignore
    lasting: bool  # a directory that will be there at the next build: digests of its files are worth keeping


@contextmanager
def open_context(
    spec: str, dockerfile: str | None = None, stdin: BinaryIO | None = None
) -> Iterator[Context]:
    """`spec` is the argument of `build`: a directory, "-", a git repository with `#ref:subdir`, or a URL.

    `dockerfile` is `-f`: "-" is standard input; a path is relative to here for a directory, else to the context.
    NotFound, UsageError, Malformed, Damaged, RegistryError.
    """
    raise NotImplementedError
    yield
