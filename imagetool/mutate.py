"""PURE: image + change -> image. Nothing here reads or writes; rendering gives the blobs to store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from imagetool import digest as digests
from imagetool import mediatypes
from imagetool.digest import Digest
from imagetool.errors import Malformed
from imagetool.spec import Config, Descriptor, History, Manifest, Platform, RunConfig
from imagetool.spec.descriptor import EMPTY
from unionfs.namedtuple import NamedTuple


class Draft(NamedTuple):
    """An image that is being made. INVARIANT: as many layers as diff IDs in the config."""

    config: Config
    layers: tuple[Descriptor, ...] = ()
    annotations: Mapping[str, str] = EMPTY
    docker: bool = False  # Docker's media types instead of OCI's


class Rendered(NamedTuple):
    """The two blobs of an image, and the descriptor that names it."""

    config: bytes
    manifest: bytes
    target: Descriptor

    @property
    def image_id(self) -> Digest:
        return digests.of(self.config)


def scratch(platform: Platform) -> Draft:
    """No layers, and nothing to run."""
    return Draft(Config(platform))


def draft(manifest: Manifest, config: Config) -> Draft:
    """An existing image as the start of a new one. Malformed when manifest and config do not fit."""
    if len(manifest.layers) != len(config.diff_ids):
        raise Malformed(f"image has {len(manifest.layers)} layers and {len(config.diff_ids)} diff IDs")
    return Draft(config, manifest.layers, manifest.annotations, mediatypes.is_docker(manifest.media_type))


def append(base: Draft, layer: Descriptor, diff_id: Digest, step: History) -> Draft:
    """One layer more, and the step that made it."""
    config = base.config._replace(
        diff_ids=(*base.config.diff_ids, diff_id),
        history=(*complete_history(base.config), step._replace(empty_layer=False)),
    )
    return base._replace(config=config, layers=(*base.layers, layer))


def note(base: Draft, step: History) -> Draft:
    """A step that made no layer."""
    history = (*complete_history(base.config), step._replace(empty_layer=True))
    return base._replace(config=base.config._replace(history=history))


def with_run(base: Draft, change: Callable[[RunConfig], RunConfig]) -> Draft:
    """The run configuration changed by a function."""
    return base._replace(config=base.config._replace(run=change(base.config.run)))


def stamped(base: Draft, created: str, author: str | None = None) -> Draft:
    """With the time it was made (RFC 3339) and, unless None, its author."""
    config = base.config._replace(created=created)
    return base._replace(config=config if author is None else config._replace(author=author))


def replace_layers(base: Draft, layers: Sequence[Descriptor]) -> Draft:
    """The same image with other blobs for the same layers, compressed for a push as an example."""
    if len(layers) != len(base.layers):
        raise ValueError(f"{len(layers)} layers for {len(base.layers)}")
    return base._replace(layers=tuple(layers))


def convert(base: Draft, *, docker: bool) -> Draft:
    """With the media types of the other family. The image ID stays the same. Malformed: Docker has no such layer."""
    layers = tuple(layer._replace(media_type=_converted(layer.media_type, docker)) for layer in base.layers)
    return base._replace(layers=layers, docker=docker)


def render(image: Draft) -> Rendered:
    """The bytes of config and manifest; the same draft always gives the same."""
    config = image.config.render()
    config_type, manifest_type = (
        (mediatypes.DOCKER_CONFIG, mediatypes.DOCKER_MANIFEST)
        if image.docker
        else (mediatypes.OCI_CONFIG, mediatypes.OCI_MANIFEST)
    )
    named = Descriptor(config_type, digests.of(config), len(config))
    annotations = EMPTY if image.docker else image.annotations  # schema 2 has none
    manifest = Manifest(named, image.layers, manifest_type, annotations).render()
    target = Descriptor(manifest_type, digests.of(manifest), len(manifest))
    return Rendered(config, manifest, target)


def complete_history(config: Config) -> tuple[History, ...]:
    """The history with an entry for every layer: what an image came without is filled in, so that steps count."""
    steps = sum(1 for step in config.history if not step.empty_layer)
    missing = len(config.diff_ids) - steps
    return config.history + (History(comment="made without history"),) * max(0, missing)


def _converted(media_type: str, docker: bool) -> str:
    compression = mediatypes.LAYER_COMPRESSION.get(media_type)
    if compression is None:
        raise Malformed(f"a layer of type {media_type!r} cannot be converted")
    foreign = media_type in mediatypes.FOREIGN
    if not foreign:
        return mediatypes.layer_type(compression, docker=docker)
    pair = {"none": mediatypes.DOCKER_FOREIGN, "gzip": mediatypes.DOCKER_FOREIGN_GZIP}
    if docker and compression not in pair:
        raise Malformed("Docker's format has no foreign layers in zstd")
    suffix = {"none": "", "gzip": "+gzip", "zstd": "+zstd"}[compression]
    return pair[compression] if docker else mediatypes.OCI_FOREIGN + suffix
