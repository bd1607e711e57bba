"""COPY: which files are meant, what they are (a digest), and putting them into a root.

with Memory.open(...) as memory, Tree(context.root, ignore=context.ignore, memory=memory) as tree:
    sources = resolve(tree, ["src", "*.txt"])
    sources.digest()
    apply(sources, root, "/app/", CopyOptions(workdir="/"))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from imagetool.build.trees import Tree


class CopyOptions(NamedTuple):
    """How files arrive. For --link, give `apply` an empty directory as the root: no base, no links in the way.

    uid and gid None: 0:0 for what comes from a context, a document or a URL, and their own for what comes from
    a stage, an image (`Tree(..., owners=True)`) or an unpacked archive.
    """

    uid: int | None = None
    gid: int | None = None
    chmod: str = ""  # octal, or symbolic as in chmod(1)
    workdir: str = "/"  # what a relative destination starts from


class Sources:
    """What a COPY or ADD copies, in order. Valid while its Tree is open."""

    def digest(self) -> str:
        """sha256 hex over names, types, modes, owners (where they are kept), contents, link targets, hard links,
        attributes: the same content has the same digest, whatever its times and wherever it is."""
        raise NotImplementedError


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
    raise NotImplementedError


def apply(sources: Sources, root: str, destination: str, options: CopyOptions) -> None:
    """Puts them below the directory `root`; no link there leads out of it. Docker's rules for the destination.

    UsageError (several sources need a directory, a directory over a file), NotFound, StoreError, NoSpace.
    """
    raise NotImplementedError
