"""Images made by hand: an OCI layout from layers given as {path: content}, for skopeo to bring elsewhere."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Files = Mapping[str, bytes]


def layer_tar(files: Files) -> bytes:
    """A tar of these regular files, the same bytes every time."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(content), 1_700_000_000
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def tar_of(members: Mapping[str, bytes | str]) -> bytes:
    """A tar of these files in this order; a text is the target of a symbolic link."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                tar.addfile(entry)
            else:
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def compress(data: bytes, kind: str) -> bytes:
    if kind == "zstd":
        import zstandard

        return zstandard.ZstdCompressor().compress(data)
    return gzip.compress(data, 1, mtime=0) if kind == "gzip" else data


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Layout:
    """An OCI layout that grows: blobs first, then manifests, each under a tag."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._index: list[dict[str, Any]] = []
        (root / "blobs/sha256").mkdir(parents=True)
        (root / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The descriptors of all tags."""
        return list(self._index)

    def blob(self, data: bytes, media_type: str) -> dict[str, Any]:
        name = digest(data)
        (self.root / "blobs" / name.replace(":", "/")).write_bytes(data)
        return {"mediaType": media_type, "digest": name, "size": len(data)}

    def image(
        self,
        layers: Sequence[Files | bytes],
        *,
        kind: str = "gzip",
        architecture: str = "amd64",
        **config: Any,
    ) -> dict[str, Any]:
        """The descriptor of a manifest with these layers, the lowest first; bytes are a tar as it is."""
        tars = [layer if isinstance(layer, bytes) else layer_tar(layer) for layer in layers]
        suffix = "" if kind == "none" else f"+{kind}"
        rows = [self.blob(compress(t, kind), f"application/vnd.oci.image.layer.v1.tar{suffix}") for t in tars]
        document = {
            "architecture": architecture,
            "os": "linux",
            "created": "2024-05-01T12:00:00Z",
            "config": {"Cmd": ["/bin/sh"], **config},
            "rootfs": {"type": "layers", "diff_ids": [digest(t) for t in tars]},
        }
        media_type = "application/vnd.oci.image.manifest.v1+json"
        body = {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": self.blob(dump(document), "application/vnd.oci.image.config.v1+json"),
            "layers": rows,
        }
        manifest = self.blob(dump(body), media_type)
        return {**manifest, "platform": {"os": "linux", "architecture": architecture}}

    def index(self, *manifests: dict[str, Any]) -> dict[str, Any]:
        kind = "application/vnd.oci.image.index.v1+json"
        return self.blob(dump({"schemaVersion": 2, "mediaType": kind, "manifests": list(manifests)}), kind)

    def tag(self, name: str, descriptor: dict[str, Any]) -> None:
        entry = {key: value for key, value in descriptor.items() if key != "platform"}
        self._index.append({**entry, "annotations": {"org.opencontainers.image.ref.name": name}})
        (self.root / "index.json").write_bytes(dump({"schemaVersion": 2, "manifests": self._index}))


def dump(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
