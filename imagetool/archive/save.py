"""Writing images out of the store: as `docker save` does, as an OCI archive, into an OCI layout directory.

The Docker archive is both in one, as Docker has written it since version 25: an OCI layout with uncompressed
layers, and `manifest.json` and `repositories` for older readers. The same images always give the same bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence

from imagetool import digest as digests
from imagetool import mediatypes, reference
from imagetool.archive import tarwrite
from imagetool.archive.load import CONTAINERD_NAME
from imagetool.archive.tarwrite import Entry
from imagetool.digest import Digest
from imagetool.errors import StoreError
from imagetool.spec import Descriptor, Index, Manifest
from imagetool.spec.fields import Json
from imagetool.store import disk, read
from imagetool.store.layout import VERSION
from imagetool.store.refs import REF_NAME
from imagetool.store.store import Store
from unionfs.namedtuple import NamedTuple

Sink = Callable[[bytes], object]
Content = bytes | str
"""What a file has in it: these bytes, or the bytes of the file at this path."""

CHUNK = 1 << 20


class Wanted(NamedTuple):
    """An image to save, and the full names it is saved under (by tag; none: by its ID alone)."""

    target: Descriptor
    names: tuple[str, ...] = ()


def save_docker(store: Store, images: Sequence[Wanted], sink: Sink) -> None:
    """Writes a Docker archive. NotFound, Damaged for an image that is not complete."""
    files: dict[str, Content] = {}
    entries: list[Descriptor] = []
    rows: list[Json] = []
    repositories: dict[str, dict[str, str]] = {}
    for wanted in images:
        image = store.image(read.look_up(store.layout, wanted.target, None))
        store.ensure_layers(image)
        layers = [_uncompressed(store, diff_id) for diff_id in image.config.diff_ids]
        files |= {_path(layer.digest): store.layout.layer_tar(layer.digest) for layer in layers}
        config = store.read_blob(image.id)
        files[_path(image.id)] = config
        named = Descriptor(mediatypes.OCI_CONFIG, image.id, len(config))
        entries += _entries(files, Manifest(named, tuple(layers)).render(), wanted.names)
        tags = [reference.parse(name) for name in wanted.names]
        paths = [_path(layer.digest) for layer in layers]
        rows.append(
            {"Config": _path(image.id), "RepoTags": [tag.familiar() for tag in tags], "Layers": paths}
        )
        for tag in tags:
            top = digests.encoded(image.config.diff_ids[-1]) if layers else digests.encoded(image.id)
            repositories.setdefault(tag.familiar_repository, {})[tag.tag or ""] = top
    files["manifest.json"] = _json(rows)
    if repositories:
        files["repositories"] = _json(repositories)
    _write(_with_layout(files, entries), sink)


def save_oci(store: Store, images: Sequence[Wanted], sink: Sink) -> None:
    """Writes an OCI archive: the blobs as they are in the store, all platforms of an index that are there."""
    files, entries = _collect(store, images)
    _write(_with_layout(files, entries), sink)


def save_directory(store: Store, wanted: Wanted, directory: str, tag: str | None) -> None:
    """Adds an image to an OCI layout directory, which is made if it is missing, under the name `tag` there."""
    files, _ = _collect(store, [wanted])
    entry = wanted.target._replace(annotations={REF_NAME: tag} if tag else {})
    with disk.errors(f"cannot write {directory}"):
        old = _directory_index(directory)
        for path, content in files.items():
            target = f"{directory}/{path}"
            if not os.path.exists(target):
                _copy(content, target)
        others = [
            each for each in old if each.annotations.get(REF_NAME) != tag or each.digest == entry.digest
        ]
        kept = [each for each in others if each != entry]
        _copy(VERSION, f"{directory}/oci-layout")
        _copy(Index((*kept, entry)).render(), f"{directory}/index.json")


def _collect(store: Store, images: Sequence[Wanted]) -> tuple[dict[str, Content], list[Descriptor]]:
    files: dict[str, Content] = {}
    entries: list[Descriptor] = []
    for wanted in images:
        for digest in _blobs(store, wanted.target):
            files[_path(digest)] = store.layout.blob(digest)
        entries += _named(wanted.target, wanted.names)
    return files, entries


def _blobs(store: Store, target: Descriptor) -> Iterator[Digest]:
    """Every blob of an image, or of the images of an index that are here."""
    yield target.digest
    for manifest in read.manifests(store.layout, target):
        image = store.image(manifest)
        yield manifest.digest
        yield image.id
        for blob, _ in image.layers():
            store.open_blob(blob.digest).close()  # NotFound before anything is written
            yield blob.digest


def _uncompressed(store: Store, diff_id: Digest) -> Descriptor:
    return Descriptor(mediatypes.OCI_LAYER, diff_id, os.stat(store.layout.layer_tar(diff_id)).st_size)


def _entries(files: dict[str, Content], manifest: bytes, names: Sequence[str]) -> list[Descriptor]:
    target = Descriptor(mediatypes.OCI_MANIFEST, digests.of(manifest), len(manifest))
    files[_path(target.digest)] = manifest
    return _named(target, names)


def _named(target: Descriptor, names: Sequence[str]) -> list[Descriptor]:
    """One entry of index.json a name. Docker and containerd read the second annotation."""
    if not names:
        return [target._replace(annotations={})]
    return [target._replace(annotations={REF_NAME: name, CONTAINERD_NAME: name}) for name in names]


def _with_layout(files: dict[str, Content], entries: Sequence[Descriptor]) -> dict[str, Content]:
    return files | {"oci-layout": VERSION, "index.json": Index(tuple(entries)).render()}


def _write(files: dict[str, Content], sink: Sink) -> None:
    """A tar of these files, in the order of their names, documents before blobs."""
    made: set[str] = set()
    for path in sorted(files, key=lambda path: ("/" in path, path)):
        for folder in _folders(path):
            if folder not in made:
                made.add(folder)
                sink(tarwrite.member(Entry(folder.encode(), 0o040755)))
        _write_file(path, files[path], sink)
    sink(tarwrite.END)


def _write_file(path: str, content: Content, sink: Sink) -> None:
    size = len(content) if isinstance(content, bytes) else os.stat(content).st_size
    sink(tarwrite.member(Entry(path.encode(), 0o100644, size=size)))
    written = 0
    for piece in _pieces(content):
        sink(piece)
        written += len(piece)
    if written != size:
        raise StoreError(f"{content!r} changed while it was read")
    sink(tarwrite.padding(size))


def _folders(path: str) -> Iterator[str]:
    parts = path.split("/")[:-1]
    for count in range(1, len(parts) + 1):
        yield "/".join(parts[:count])


def _pieces(content: Content) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with open(content, "rb") as file:
        while piece := file.read(CHUNK):
            yield piece


def _directory_index(directory: str) -> tuple[Descriptor, ...]:
    """The references of a layout that may be there already; its directories are made."""
    os.makedirs(f"{directory}/blobs/sha256", exist_ok=True)
    try:
        with open(f"{directory}/index.json", "rb") as file:
            return Index.parse(file.read()).manifests
    except FileNotFoundError:
        return ()


def _copy(content: Content, target: str) -> None:
    """Publishes a file outside the store."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    temporary = f"{target}.{os.getpid()}.tmp"
    fd = disk.create(temporary)
    try:
        for piece in _pieces(content):
            disk.write_all(fd, piece)
        os.fsync(fd)
        disk.move(temporary, target)
    except BaseException:
        disk.unlink(temporary)
        raise
    finally:
        os.close(fd)


def _path(digest: Digest) -> str:
    return f"blobs/{digests.algorithm(digest)}/{digests.encoded(digest)}"


def _json(value: Json) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
