"""The lines of `images --tree`: an image, the platforms of it that are here, and their layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from imagetool import digest as digests
from imagetool.digest import Digest
from imagetool.errors import NotFound
from imagetool.look.history import steps
from imagetool.store import read
from imagetool.store.read import Image
from imagetool.store.store import Store
from imagetool.units import size_text

_STEP_WIDTH = 50  # characters of what made a layer


def lines(store: Store, target: Digest, names: Sequence[str]) -> Iterator[str]:
    """The target is what a reference names: a manifest or an index."""
    yield ", ".join(names)
    found = next((ref.target for ref in store.references() if ref.target.digest == target), None)
    if found is None:  # removed a moment ago
        raise NotFound(f"No such image: {names[0]}")
    images = [store.image(manifest) for manifest in read.manifests(store.layout, found)]
    for number, image in enumerate(images):
        last = number == len(images) - 1
        rows = [step for step in steps(store, image) if step.diff_id]
        size = size_text(sum(step.size for step in rows))
        yield f"{_branch(last)} {digests.short(image.id)}  {image.config.platform}  {size}"
        yield from _layers(image, [(step.diff_id or "", step.size, step.created_by) for step in rows], last)


def _layers(image: Image, rows: list[tuple[str, int, str]], last: bool) -> Iterator[str]:
    stem = "   " if last else "│  "
    for number, (diff_id, size, made_by) in enumerate(rows):
        text = " ".join(made_by.split())[:_STEP_WIDTH]
        branch = _branch(number == len(rows) - 1)
        yield f"{stem}{branch} {digests.short(Digest(diff_id))}  {size_text(size):>7}  {text}".rstrip()


def _branch(last: bool) -> str:
    return "└─" if last else "├─"
