"""ADD: what COPY does, and URLs, git repositories, and local archives that are unpacked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from imagetool.build.copying import Sources
from imagetool.build.trees import Tree


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
    raise NotImplementedError
