"""`build --output`: where the result goes."""

from __future__ import annotations

from typing import BinaryIO, NamedTuple

from imagetool.archive.save import Wanted
from imagetool.store.store import Store


class Output(NamedTuple):
    """kind: image (the store), local (files in the directory `path`), tar (files), oci or docker (archives).

    `path` "-" is standard output; "" goes with `image` alone.
    """

    kind: str
    path: str = ""
    names: tuple[str, ...] = ()  # name=… of image, oci and docker
    push: bool = False  # image: push its names, too


IMAGE = Output("image")


def parse(text: str) -> Output:
    """`type=KIND[,dest=PATH]`, `DIR` (local) or `-` (a tar of files on standard output). UsageError."""
    raise NotImplementedError


def write(store: Store, wanted: Wanted, output: Output, stdout: BinaryIO) -> None:
    """Writes an image of the store to where `output`, not of kind image, says."""
    raise NotImplementedError
