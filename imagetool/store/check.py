"""`system check`: is every blob, diff ID, index and reference what it should be, and what mends it.

Everything is read and hashed. Problems are values; `repair` acts on them, and never removes a reference: what
is lost comes back by pulling the image again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from enum import Enum

from imagetool import mediatypes
from imagetool.digest import Digest, Verifier
from imagetool.errors import Damaged, ImageToolError, Malformed, NoSpace
from imagetool.spec import Descriptor, Manifest
from imagetool.store import disk, read
from imagetool.store.gc import stored
from imagetool.store.layout import Layout
from imagetool.store.lease import Lease
from imagetool.store.limits import LIMITS, Limits
from imagetool.store.rebuild import build_layer
from imagetool.store.store import Store
from unionfs.layers import index as fmt
from unionfs.namedtuple import NamedTuple

READ = 1 << 20


class Remedy(Enum):
    """What helps. The texts are for people."""

    REBUILD = "rebuilt from its blob by --repair"
    REMOVE = "removed by --repair"
    PULL = "pull the image again"


class Problem(NamedTuple):
    """One thing that is wrong. `digest` is of the blob, or the diff ID of the layer; `images` are whom it hurts."""

    text: str
    remedy: Remedy
    images: tuple[str, ...] = ()
    digest: Digest | None = None
    blob: Descriptor | None = None  # with REBUILD: what the layer is built from


class Survey:
    """What the references need: every blob and every layer once, with the names of all images that need it."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.blobs: dict[Digest, tuple[Descriptor, list[str]]] = {}
        self.layers: dict[Digest, tuple[Descriptor, list[str]]] = {}
        self.problems: list[Problem] = []

    def add(self, target: Descriptor, name: str) -> None:
        """Follows one reference as far as its documents can be read; what cannot is a problem of its own."""
        self._need(self.blobs, target.digest, target, name)
        try:
            manifests = list(read.manifests(self._layout, target))
        except ImageToolError as error:
            self._unreadable(target, name, error)
            return
        for manifest in manifests:
            self._need(self.blobs, manifest.digest, manifest, name)
            self._add_image(manifest, name)

    def _add_image(self, manifest: Descriptor, name: str) -> None:
        try:
            document = read.document(self._layout, manifest)
            assert isinstance(document, Manifest)
            for part in (document.config, *document.layers):
                self._need(self.blobs, part.digest, part, name)
            for blob, diff_id in read.image(self._layout, manifest).layers():
                if blob.media_type in mediatypes.LAYER_COMPRESSION:  # an attestation's are not mounted
                    self._need(self.layers, diff_id, blob, name)
        except ImageToolError as error:
            self._unreadable(manifest, name, error)

    @staticmethod
    def _need(
        parts: dict[Digest, tuple[Descriptor, list[str]]], digest: Digest, blob: Descriptor, name: str
    ) -> None:
        names = parts.setdefault(digest, (blob, []))[1]
        if name not in names:
            names.append(name)

    def _unreadable(self, target: Descriptor, name: str, error: ImageToolError) -> None:
        """A damaged or missing blob shows by itself; this is for documents that are whole and wrong."""
        if isinstance(error, Malformed):
            self.problems.append(Problem(f"image {target.digest}: {error.text}", Remedy.PULL, (name,)))


def check(store: Store) -> Iterator[Problem]:
    """Every problem of a store, as it is found. StoreError when index.json cannot be read at all."""
    layout = store.layout
    survey = Survey(layout)
    for ref in store.references():
        survey.add(ref.target, ref.name or f"<none> {ref.target.digest}")
    yield from survey.problems
    for digest, (blob, names) in survey.blobs.items():
        if text := _blob_problem(layout.blob(digest), digest, blob.size):
            yield Problem(text, Remedy.PULL, tuple(names), digest)
    for diff_id, (blob, names) in survey.layers.items():
        if text := _tar_problem(layout, diff_id) or _index_problem(layout, diff_id):
            yield Problem(text, Remedy.REBUILD, tuple(names), diff_id, blob)
    for digest, path in stored(f"{layout.root}/blobs"):
        if digest not in survey.blobs and (text := _blob_problem(path, digest, None)):
            yield Problem(f"{text}; nothing needs it", Remedy.REMOVE, (), digest)


def repair(store: Store, problems: list[Problem], limits: Limits = LIMITS) -> list[Problem]:
    """Mends what can be mended, and returns what is left: each says which images to pull again. NoSpace."""
    left = []
    with store.lease() as lease, disk.errors("cannot repair the store"):
        for problem in problems:
            try:
                if not _mend(lease, problem, limits):
                    left.append(problem)
            except NoSpace:
                raise  # a pull would not help
            except ImageToolError as error:
                text = f"{problem.text}; it cannot be rebuilt: {error.text}"
                left.append(problem._replace(text=text, remedy=Remedy.PULL))
    return left


def _mend(lease: Lease, problem: Problem, limits: Limits) -> bool:
    layout, digest = lease.layout, problem.digest
    if digest is None:
        return False
    if problem.remedy is Remedy.REBUILD and problem.blob is not None:
        disk.remove_tree(layout.layer(digest))
        build_layer(lease, problem.blob, digest, limits)
        return True
    disk.unlink(layout.blob(digest))  # damaged: a pull would otherwise take it for present
    return problem.remedy is Remedy.REMOVE or _restored(layout, digest)


def _restored(layout: Layout, digest: Digest) -> bool:
    """An uncompressed blob can come back from the layer that was made of it."""
    if _tar_problem(layout, digest):
        return False
    os.link(layout.layer_tar(digest), layout.blob(digest))
    disk.sync_dir(os.path.dirname(layout.blob(digest)))
    return True


def _blob_problem(path: str, digest: Digest, size: int | None) -> str:
    verifier = Verifier(digest, size)
    try:
        with open(path, "rb") as file:
            while chunk := file.read(READ):
                verifier.feed(chunk)
        verifier.finish()
    except FileNotFoundError:
        return f"blob {digest} is missing"
    except OSError as error:
        return f"blob {digest} cannot be read: {error.strerror}"
    except Damaged as error:
        return error.text
    return ""


def _tar_problem(layout: Layout, diff_id: Digest) -> str:
    text = _blob_problem(layout.layer_tar(diff_id), diff_id, None)
    return text.replace("blob ", "layer ", 1)


def _index_problem(layout: Layout, diff_id: Digest) -> str:
    try:
        with open(layout.layer_index(diff_id), "rb") as file, open(layout.layer_tar(diff_id), "rb") as tar:
            index = fmt.Index(file.fileno(), fmt.TarId.of(tar.fileno()), file.name)
            sound = index.verify()
            index.close()
    except OSError as error:
        return f"index of layer {diff_id}: {error.strerror}"
    except fmt.Unusable as error:
        return f"index of layer {diff_id}: {error}"
    return "" if sound else f"index of layer {diff_id} is damaged"
