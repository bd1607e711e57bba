"""A directory that files are copied from, a context or a root: looked at once, and never left."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Self

from imagetool.build.ignore import Ignore
from imagetool.build.memory import Memory


class Tree:
    """A context manager. `owners`: files keep their owners when they are copied (stages and images)."""

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        ignore: Ignore | None = None,
        memory: Memory | None = None,
        owners: bool = False,
    ) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise NotImplementedError

    def transfer_size(self) -> int:
        """Bytes of a tar of all that is not ignored: what "Sending build context" shows."""
        raise NotImplementedError
