"""The Store: one object that knows a root and offers all that the rest of imagetool does with images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from imagetool import reference
from imagetool.digest import Digest
from imagetool.errors import ImageToolError, InvalidReference, NoSpace, NotFound
from imagetool.reference import Reference
from imagetool.spec.descriptor import Descriptor, Platform
from imagetool.spec.document import MAX_DOCUMENT
from imagetool.spec.manifest import Index
from imagetool.store import disk, layers, read, refs, summary
from imagetool.store import resolve as resolving
from imagetool.store.layout import Layout, default_root, open_layout, read_index, write_index
from imagetool.store.lease import Lease, tidy
from imagetool.store.limits import LIMITS, Limits
from imagetool.store.lock import locked
from imagetool.store.read import Image
from imagetool.store.refs import Ref, References
from imagetool.store.summary import Facts, Summary
from unionfs.annotations import BinaryIO

_Write = Callable[[References], None]


class Store:
    """See imagetool.store for the interface. Instances hold no state but paths: any number, in any thread."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    @staticmethod
    def open(root: str | None = None, *, create: bool = True) -> Store:
        """The store at `root`, or at the default place. StoreError if there is none and `create` is False."""
        return Store(open_layout(root or default_root(), create=create))

    @property
    def root(self) -> str:
        return self.layout.root

    def lease(self) -> Lease:
        """What everything works under that adds to the store; a context manager."""
        tidy(self.layout)
        return Lease(self.layout)

    # --- looking

    def references(self) -> list[Ref]:
        return refs.read(read_index(self.layout).manifests)

    def resolve(self, text: str, platform: Platform | None = None) -> Descriptor:
        """The manifest that a name, a digest or a (short) ID means; an index gives its child for `platform`, by default
        for this machine, or what was pulled of it if that is for another one.

        NotFound, AmbiguousReference, InvalidReference, each with a hint.
        """
        return read.look_up(self.layout, self.find(text)[1], platform)

    def find(self, text: str) -> tuple[Reference | None, Descriptor]:
        """The reference that was meant (None: it was an ID), and what it names: a manifest or an index."""
        there = self.references()
        return resolving.resolve(text, there, lambda: self._ids(there))

    def image(self, target: Descriptor) -> Image:
        """The manifest and the config of an image, parsed. NotFound, Damaged, Malformed."""
        return read.image(self.layout, target)

    def summaries(self) -> list[Summary]:
        """One row a reference, in the order of index.json; images that cannot be read are left out."""
        there = self.references()
        known = self._facts(there)
        return [
            Summary(ref.name, ref.target.digest, *known[ref.target.digest])
            for ref in there
            if ref.target.digest in known
        ]

    def names(self, image_id: Digest) -> list[str]:
        """All full names of an image, by tag and by digest."""
        return [row.name for row in self.summaries() if row.image_id == image_id and row.name]

    def read_blob(self, digest: Digest, limit: int = MAX_DOCUMENT) -> bytes:
        return read.read_blob(self.layout, digest, limit)

    def open_blob(self, digest: Digest) -> BinaryIO:
        return read.open_blob(self.layout, digest)

    def has_blob(self, descriptor: Descriptor) -> bool:
        return read.has_blob(self.layout, descriptor)

    def has_layer(self, descriptor: Descriptor, diff_id: Digest) -> bool:
        return read.has_layer(self.layout, descriptor, diff_id)

    def layer_dir(self, diff_id: Digest) -> str:
        return self.layout.layer(diff_id)

    def layer_tars(self, image: Image) -> list[str]:
        """The tars of an image's layers, the top one first: what a mount takes."""
        return [self.layout.layer_tar(diff_id) for diff_id in reversed(image.config.diff_ids)]

    # --- changing

    def publish(self, names: Iterable[str], target: Descriptor) -> dict[str, Descriptor | None]:
        """Makes `names` (full names; none: an image without a name) mean `target`; what each meant before.

        All or nothing, and durable. NotFound if anything of the image is missing.
        """
        wanted = [str(reference.parse_full(name)) for name in names]
        with self._changing() as (entries, write):
            for lack in read.missing(self.layout, target):
                raise NotFound(
                    f"image {target.digest} is incomplete: {lack} is missing", hint="pull it again"
                )
            before = {name: refs.find(entries, name) for name in wanted}
            moved = refs.point(entries, wanted, target)
            write(refs.without_unnamed(moved, self._other_forms(before.values(), target)))
        return before

    def tag(self, source: str, name: str) -> None:
        """`docker tag`: `name` (default tag latest, no digest) means what `source` means now."""
        wanted = reference.parse(name)
        if wanted.digest:
            raise InvalidReference(f"refusing to create a tag with a digest reference: {name!r}")
        self.publish([str(wanted.tagged())], self.find(source)[1])

    def untag(self, names: Sequence[str]) -> None:
        """Drops full names. An image that loses its last one stays, without a name. NotFound: nothing is changed."""
        with self._changing() as (entries, write):
            for name in names:
                if refs.find(entries, name) is None:
                    raise NotFound(f"No such image: {reference.parse(name).familiar()}")
            write(refs.drop(entries, names))

    def remove(self, manifests: Iterable[Digest]) -> None:
        """Drops every reference to these manifests. Their files go with the next gc."""
        gone = set(manifests)
        with self._changing() as (entries, write):
            write(refs.remove(entries, gone))

    def build_layer(
        self, lease: Lease, descriptor: Descriptor, diff_id: Digest, limits: Limits = LIMITS
    ) -> None:
        """Makes layer.tar and layer.idx from the blob that is here. NotFound, Damaged; may take seconds."""
        from imagetool.store.rebuild import build_layer

        lease.pin(descriptor.digest, diff_id)
        build_layer(lease, descriptor, diff_id, limits)

    def ensure_layers(self, image: Image, limits: Limits = LIMITS) -> None:
        """Every layer of an image can be mounted: what was lost of them is built again from the blobs."""
        with self.lease() as lease:
            for blob, diff_id in image.layers():
                lease.pin(diff_id)
                if not layers.is_complete(self.layout, diff_id):
                    self.build_layer(lease, blob, diff_id, limits)

    # --- inside

    def _other_forms(self, old: Iterable[Descriptor | None], target: Descriptor) -> set[Digest]:
        """Of old targets, those that are the same image as `target`, in other media types or compressions."""
        others = {entry.digest: entry for entry in old if entry is not None and entry.digest != target.digest}
        if not others:
            return set()
        image_id = read.shown(self.layout, target).id
        found = set()
        for entry in others.values():
            with suppress(ImageToolError):  # damaged, and on its way out
                if read.shown(self.layout, entry).id == image_id:
                    found.add(entry.digest)
        return found

    @contextmanager
    def _changing(self) -> Iterator[tuple[References, _Write]]:
        """The references, and a function that replaces them; nobody else changes them meanwhile, nor collects."""
        with (
            disk.errors("cannot lock the store"),
            locked(self.layout.lock("gc"), shared=True),
            locked(self.layout.lock("index")),
        ):
            old = read_index(self.layout)
            yield old.manifests, lambda new: self._write(new, old)

    def _write(self, new: References, old: Index) -> None:
        """A full disk must not keep anybody from removing what fills it: what lists remember makes room for this."""
        try:
            write_index(self.layout, new, old, self._temporary("index"))
        except NoSpace:
            disk.unlink(self.layout.summaries)
            write_index(self.layout, new, old, self._temporary("index"))

    def _temporary(self, name: str) -> str:
        """The holder of the `index` lock has this path to itself; a crash may have left something there."""
        path = f"{self.layout.temporary}/{name}"
        disk.unlink(path)
        return path

    def _ids(self, there: Sequence[Ref]) -> Iterator[tuple[Digest, Descriptor]]:
        known = self._facts(there)
        return (
            (known[ref.target.digest].image_id, ref.target) for ref in there if ref.target.digest in known
        )

    def _facts(self, there: Sequence[Ref]) -> dict[str, Facts]:
        """Facts of every image that can be read; new ones are kept for the next time."""
        known = summary.load(self.layout)
        fresh: dict[str, Facts] = {}
        for ref in there:
            if ref.target.digest not in known:
                try:
                    known[ref.target.digest], exact = read.facts(self.layout, ref.target)
                except ImageToolError:  # `system check` tells; a list shows the others
                    continue
                if exact:
                    fresh[ref.target.digest] = known[ref.target.digest]
        if fresh:
            self._remember(fresh)
        return known

    def _remember(self, fresh: dict[str, Facts]) -> None:
        """As far as that is possible: a store that cannot be written can be looked at all the same."""
        with suppress(OSError), locked(self.layout.lock("index")):
            alive = {entry.digest for entry in read_index(self.layout).manifests}
            merged = summary.load(self.layout) | fresh
            kept = {digest: row for digest, row in merged.items() if digest in alive}
            summary.save(self.layout, kept, self._temporary("summaries"))
