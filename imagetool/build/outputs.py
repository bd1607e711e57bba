"""`build --output`: where the result goes."""

from __future__ import annotations

import csv
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from imagetool import reference
from imagetool.archive import export, save
from imagetool.archive.save import Wanted
from imagetool.archive.tree import of_tars
from imagetool.build.adding import of_layer
from imagetool.build.content import Item
from imagetool.build.landing import Landing, Looks
from imagetool.errors import UsageError
from imagetool.store import disk
from imagetool.store.store import Store
from unionfs.annotations import BinaryIO
from unionfs.namedtuple import NamedTuple

KINDS = ("image", "local", "tar", "oci", "docker", "registry")
_FIELDS = ("type", "dest", "name", "push", "tar")


class Output(NamedTuple):
    """kind: image (the store), local (files in the directory `path`), tar (files), oci or docker (archives).

    `path` "-" is standard output; "" goes with `image` alone.
    """

    kind: str
    path: str = ""
    names: tuple[str, ...] = ()  # name=… of image, oci and docker
    push: bool = False  # image: push its names, too
    directory: bool = False  # oci: a layout directory, not an archive


IMAGE = Output("image")


def parse(text: str) -> Output:
    """`type=KIND[,dest=PATH]`, `DIR` (local) or `-` (a tar of files on standard output). UsageError."""
    rows = next(csv.reader([text]), [])
    if len(rows) == 1 and "=" not in text and text:
        return Output("tar", "-") if text == "-" else Output("local", text)
    given: dict[str, str] = {}
    for row in rows:
        key, equals, value = row.partition("=")
        key = key.strip().lower()
        if not equals or key not in _FIELDS:
            raise UsageError(f"invalid output {text!r}", hint="type=KIND,dest=PATH; or a directory; or -")
        given[key] = value
    kind = given.get("type", "")
    if kind not in KINDS:
        raise UsageError(f"unknown type {kind!r} of output", hint=f"one of {', '.join(KINDS)}")
    names = tuple(name for name in given.get("name", "").split(",") if name)
    for name in names:
        reference.parse(name)
    push = kind == "registry" or _flag(given, "push", "false")
    kind = "image" if kind == "registry" else kind
    return _checked(Output(kind, given.get("dest", ""), names, push, not _flag(given, "tar", "true")), given)


def _checked(output: Output, given: dict[str, str]) -> Output:
    kind, path = output.kind, output.path
    if kind == "image" and path:
        raise UsageError(
            f"an output of type {given['type']} has no dest={path}", hint="it goes into the store"
        )
    if kind == "local" and path in ("", "-"):
        raise UsageError("an output of type local needs a directory", hint="type=local,dest=DIR")
    if output.push and kind != "image":
        raise UsageError(f"an output of type {kind} cannot be pushed")
    if output.directory and (kind != "oci" or path in ("", "-")):
        raise UsageError("tar=false goes with type=oci,dest=DIR alone")
    return output._replace(path=path or "-") if kind in ("tar", "oci", "docker") else output


def write(store: Store, wanted: Wanted, output: Output, stdout: BinaryIO) -> None:
    """Writes an image of the store to where `output`, not of kind image, says.

    A file is whole, or what it was before. UsageError for a terminal; StoreError, NoSpace.
    """
    if output.kind == "local":
        _write_files(store, wanted, output.path)
    elif output.directory:
        names = output.names or wanted.names
        save.save_directory(store, wanted, output.path, reference.parse(names[0]).tag if names else None)
    else:
        named = wanted._replace(names=tuple(dict.fromkeys((*wanted.names, *map(_full, output.names)))))
        with _sink(output.path, stdout) as sink:
            if output.kind == "tar":
                export.export(_tars(store, wanted), sink)
            else:
                (save.save_oci if output.kind == "oci" else save.save_docker)(store, [named], sink)


def _full(name: str) -> str:
    return str(reference.parse(name).tagged())


def _tars(store: Store, wanted: Wanted) -> list[str]:
    image = store.image(wanted.target)
    store.ensure_layers(image)
    return store.layer_tars(image)


def _write_files(store: Store, wanted: Wanted, directory: str) -> None:
    """Over what is in the directory; the files belong to whoever builds. Links there are not followed."""
    tars = _tars(store, wanted)
    looks = Looks(os.geteuid(), os.getegid())
    with disk.errors(f"cannot write to {directory}"):
        os.makedirs(directory, exist_ok=True)
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with of_tars(tars) as tree, Landing(fd, looks) as landing:
                landing.put_all(_careful(of_layer(tree, item) for item in tree.walk()))
        finally:
            os.close(fd)


def _careful(items: Iterator[Item]) -> Iterator[Item]:
    """Directories that are there stay as they are. Devices are left out: nobody wants them among his files."""
    for item in items:
        if not (stat.S_ISCHR(item.mode) or stat.S_ISBLK(item.mode)):
            yield item._replace(unpacked=False, implied=True)


@contextmanager
def _sink(path: str, stdout: BinaryIO) -> Iterator[Callable[[bytes], object]]:
    with disk.errors("cannot write the output"):
        if path != "-":
            with disk.new_file(path) as file:
                yield file.write
            return
        if stdout.isatty():
            raise UsageError("an archive is not written to a terminal", hint="redirect it, or give dest=FILE")
        yield stdout.write
        stdout.flush()


def _flag(given: dict[str, str], key: str, default: str) -> bool:
    value = given.get(key, default).lower()
    if value not in ("true", "false", "1", "0"):
        raise UsageError(f"{key}={value!r} is neither true nor false")
    return value in ("true", "1")
