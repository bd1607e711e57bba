"""A push that has nothing to send, found out on one plain connection.

The commonest push of all changes nothing: a pipeline that runs again. What a real one needs (trio, connection
pools, TLS) takes several times as long to start as the few questions take that tell so. They are asked
where they cost next to nothing and give nothing away: of a registry that plain HTTP on loopback reaches, without
credentials, about an image that it is known to have had. Whatever is not as expected leads to a real push.
"""

from __future__ import annotations

import socket
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

import h11

from imagetool import mediatypes
from imagetool.errors import ImageToolError
from imagetool.progress import Progress
from imagetool.reference import Reference
from imagetool.registry import USER_AGENT, outgoing, urls
from imagetool.registry.config import Registries
from imagetool.registry.outgoing import Options
from imagetool.registry.tls import Certificates
from imagetool.registry.urls import Origin
from imagetool.spec import Descriptor, Manifest

if TYPE_CHECKING:
    from imagetool.store.store import Store

LIMIT = 5.0  # seconds for all questions; a real push has patience
ANSWER = 16 << 10  # bytes that are read at once

Event = TypeVar("Event", h11.Response, h11.EndOfMessage)


def push(
    store: Store, reference: Reference, registries: Registries, options: Options, progress: Progress
) -> Descriptor | None:
    """`push.push` where the registry has all of it and the tag means it there: with the same lines and result.

    None, and nothing is shown, where a real push is needed to know.
    """
    endpoint = registries.endpoints(reference, push=True)[0]
    origin = urls.of("http", endpoint.host, "/").origin
    if endpoint.insecure or not urls.is_loopback(origin.host) or Certificates().knows(endpoint.host):
        return None
    try:
        target = _expected(store, reference, options)
        manifest = outgoing.document(store, target) if target else None
        if target is None or not isinstance(manifest, Manifest):
            return None
        with Line(origin) as line:
            if not _there(
                line, f"/v2/{endpoint.repository}", reference.tag or target.digest, target, manifest
            ):
                return None
    except (ImageToolError, OSError, h11.ProtocolError):
        return None
    _tell(store, reference, target, manifest, progress)
    return target


def _expected(store: Store, reference: Reference, options: Options) -> Descriptor | None:
    """What is to be there, if the repository is known to have had just that."""
    if options.compression or options.all_platforms:
        return None
    target = store.resolve(str(reference), options.platform)
    name = f"{reference.repository}@{target.digest}"
    return target if any(ref.name == name for ref in store.references()) else None


def _there(line: Line, base: str, name: str, target: Descriptor, manifest: Manifest) -> bool:
    answer = line.head(f"{base}/manifests/{name}", ("Accept", target.media_type))
    if answer.get("docker-content-digest") != target.digest:
        return False
    blobs = [manifest.config, *(row for row in manifest.layers if row.media_type not in mediatypes.FOREIGN)]
    return all(
        line.head(f"{base}/blobs/{blob.digest}").get("content-length") == str(blob.size) for blob in blobs
    )


def _tell(
    store: Store, reference: Reference, target: Descriptor, manifest: Manifest, progress: Progress
) -> None:
    progress.line(f"The push refers to repository [{reference.repository}]")
    names = outgoing.layer_names(store, manifest)
    layers = {layer.digest: layer for layer in manifest.layers}
    for digest in layers:
        progress.state(names[digest], "Preparing")
    for digest, layer in layers.items():
        foreign = layer.media_type in mediatypes.FOREIGN
        progress.state(names[digest], "Skipped foreign layer" if foreign else "Layer already exists")
    progress.line(f"{reference.tag or target.digest}: digest: {target.digest} size: {target.size}")


class Line:
    """One connection, for questions that have no body. OSError and h11.ProtocolError from every method."""

    def __init__(self, origin: Origin) -> None:
        self._until = time.monotonic() + LIMIT
        self._host = origin.authority
        self._http = h11.Connection(h11.CLIENT)
        host = origin.host.encode()  # text would be looked at as an international name, which takes 2 ms
        self._socket = socket.create_connection((host, origin.port), LIMIT)  # type: ignore[arg-type]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def head(self, target: str, *headers: tuple[str, str]) -> dict[str, str]:
        """The headers of a 200; nothing for any other answer."""
        common = [("Host", self._host), ("User-Agent", USER_AGENT), *headers]
        request = self._http.send(h11.Request(method="HEAD", target=target, headers=common))
        self._socket.sendall((request or b"") + (self._http.send(h11.EndOfMessage()) or b""))
        response = self._event(h11.Response)
        self._event(h11.EndOfMessage)
        self._http.start_next_cycle()
        if response.status_code != 200:
            return {}
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers}

    def _event(self, kind: type[Event]) -> Event:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._socket.settimeout(max(0.001, self._until - time.monotonic()))
            self._http.receive_data(self._socket.recv(ANSWER))
        if not isinstance(event, kind):
            raise h11.RemoteProtocolError(f"{type(event).__name__} instead of {kind.__name__}")
        return event
