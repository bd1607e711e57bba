"""Descriptor and Platform (image-spec descriptor.md; image-index.md "platform")."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from types import MappingProxyType

from imagetool.digest import Digest
from imagetool.errors import Malformed, UsageError
from imagetool.spec.fields import Fields, Json, compact, extra
from unionfs.namedtuple import NamedTuple

_PART = r"[A-Za-z0-9_.-]+"  # compiled when it is wanted

EMPTY: Mapping[str, Json] = MappingProxyType({})

_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "i386": ("386", ""),
    "i686": ("386", ""),
}
"""What uname(2) and Debian call an architecture -> what Go and OCI call it (containerd's `platforms`)."""


class Platform(NamedTuple):
    """What an image runs on. `variant` is "" where the architecture has none."""

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()
    extra: Mapping[str, Json] = EMPTY

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def normalized(self) -> Platform:
        """With the architecture in Go's words, and the default variant left out (arm: put in)."""
        architecture, variant = _ARCHITECTURES.get(self.architecture, (self.architecture, ""))
        variant = self.variant or variant
        if (architecture, variant) in (("arm64", "v8"), ("arm64", "8"), ("amd64", "v1")):
            variant = ""
        if architecture == "arm":
            variant = "v" + (variant or "v7").removeprefix("v")
        return self._replace(os=self.os.lower(), architecture=architecture, variant=variant)

    def to_json(self) -> dict[str, Json]:
        known = {
            "architecture": self.architecture,
            "os": self.os,
            "os.version": self.os_version,
            "os.features": list(self.os_features),
            "variant": self.variant,
        }
        return compact(known) | extra(self.extra)

    @staticmethod
    def from_json(value: Json, what: str = "platform") -> Platform:
        fields = Fields(value, what)
        return Platform(
            fields.text("os"),
            fields.text("architecture"),
            fields.text("variant"),
            fields.text("os.version"),
            fields.texts("os.features") or (),
            fields.rest(),
        )

    @staticmethod
    def parse(text: str) -> Platform:
        """`linux/arm64`, `linux/arm/v7`, or an architecture alone; UsageError for anything else."""
        parts = text.split("/")
        if len(parts) == 1:
            parts = [parts[0], "amd64"] if parts[0] in ("windows", "linux") else ["linux", parts[0]]
        if len(parts) > 3 or not all(re.fullmatch(_PART, part) for part in parts):
            hint = "write OS/ARCH or OS/ARCH/VARIANT, as in linux/arm64"
            raise UsageError(f"invalid platform {text!r}", hint=hint)
        return Platform(parts[0], parts[1], parts[2] if len(parts) == 3 else "").normalized()

    @staticmethod
    def host() -> Platform:
        """The machine this runs on."""
        machine = os.uname().machine
        return Platform("linux", machine).normalized()


class Descriptor(NamedTuple):
    """Names a blob: its type, its digest and its size in bytes."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = EMPTY
    platform: Platform | None = None
    urls: tuple[str, ...] = ()
    extra: Mapping[str, Json] = EMPTY

    def to_json(self) -> dict[str, Json]:
        known = {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": self.size,
            "urls": list(self.urls),
            "annotations": dict(self.annotations),
            "platform": self.platform.to_json() if self.platform else None,
        }
        return compact(known) | extra(self.extra)

    @staticmethod
    def from_json(value: Json, what: str = "descriptor") -> Descriptor:
        """Malformed without a media type, a digest and a size."""
        fields = Fields(value, what)
        media_type = fields.text("mediaType")
        digest = fields.digest("digest")
        size = fields.integer("size")
        if not media_type or size is None:
            raise Malformed(f"{what} {digest} has no {'size' if media_type else 'mediaType'}")
        platform = fields.object("platform")
        return Descriptor(
            media_type,
            digest,
            size,
            fields.text_map("annotations"),
            None if platform is None else Platform.from_json(platform),
            fields.texts("urls") or (),
            fields.rest(),
        )
