"""A push of blobs that the registry has, over one plain connection.

The commonest push of all sends no blob: a pipeline that runs again, or a second tag. What a real one needs (trio,
connection pools, TLS) takes several times as long to start as the few requests of such a push take. So they are
made this way first where plain HTTP without credentials may do: every blob is asked for, the manifest is put, as
a real push does. Whatever is not as expected leads to a real push, which begins anew.
"""

from __future__ import annotations

import os
import socket
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

import h11

from imagetool import mediatypes
from imagetool.errors import ImageToolError
from imagetool.progress import Progress
from imagetool.reference import Reference
from imagetool.registry import USER_AGENT, outgoing, proxies, urls
from imagetool.registry.config import Endpoint, Registries
from imagetool.registry.outgoing import Options
from imagetool.registry.tls import Certificates
from imagetool.registry.urls import Origin
from imagetool.spec import Descriptor, Manifest
from unionfs.namedtuple import NamedTuple

if TYPE_CHECKING:
    from imagetool.store.store import Store

LIMIT = 5.0  # seconds for all requests; a real push has patience
ANSWER = 16 << 10  # bytes that are read at once

Event = TypeVar("Event", h11.Response, h11.EndOfMessage)
Header = tuple[str, str]


class Job(NamedTuple):
    """What is pushed where. `base` is the path of the repository."""

    origin: Origin
    base: str
    name: str
    target: Descriptor
    manifest: Manifest
    data: bytes


def push(
    store: Store, reference: Reference, registries: Registries, options: Options, progress: Progress
) -> Descriptor | None:
    """`push.push` where only the manifest has to be sent: with the same lines and result.

    None, and nothing is shown, where a real push is needed.
    """
    try:
        job = _job(store, reference, registries, options)
        if job is None or not _done(job):
            return None
        outgoing.record(store, reference, job.target)
    except (ImageToolError, OSError, h11.ProtocolError):
        return None
    _tell(store, reference, job, progress)
    return job.target


def _job(store: Store, reference: Reference, registries: Registries, options: Options) -> Job | None:
    """None where plain HTTP may not do, or where the image cannot go as it lies in the store."""
    endpoint = registries.endpoints(reference, push=True)[0]
    origin = urls.of("http", endpoint.host, "/").origin
    if not _plain(endpoint, origin) or proxies.choose(os.environ, origin):
        return None
    target, compression = outgoing.choose(store, reference, options)
    data = store.read_blob(target.digest)
    manifest = outgoing.document(store, target)
    if not isinstance(manifest, Manifest) or outgoing.compressible(manifest, compression):
        return None
    return Job(origin, f"/v2/{endpoint.repository}", reference.tag or target.digest, target, manifest, data)


def _plain(endpoint: Endpoint, origin: Origin) -> bool:
    """Whether plain HTTP may be tried first. Without a port in the name, https has another one: it comes first."""
    allowed = urls.is_loopback(origin.host) or (
        endpoint.insecure and endpoint.host.endswith(f":{origin.port}")
    )
    return allowed and not Certificates().knows(endpoint.host)


def _done(job: Job) -> bool:
    blobs = [
        job.manifest.config,
        *(row for row in job.manifest.layers if row.media_type not in mediatypes.FOREIGN),
    ]
    with Line(job.origin) as line:
        for blob in blobs:
            status, headers = line.ask("HEAD", f"{job.base}/blobs/{blob.digest}")
            if status != 200 or headers.get("content-length") != str(blob.size):
                return False
        kind = ("Content-Type", job.target.media_type)
        status, headers = line.ask("PUT", f"{job.base}/manifests/{job.name}", kind, body=job.data)
        return status == 201 and headers.get("docker-content-digest") == job.target.digest


def _tell(store: Store, reference: Reference, job: Job, progress: Progress) -> None:
    progress.line(f"The push refers to repository [{reference.repository}]")
    names = outgoing.layer_names(store, job.manifest)
    layers = {layer.digest: layer for layer in job.manifest.layers}
    for digest in layers:
        progress.state(names[digest], "Preparing")
    for digest, layer in layers.items():
        foreign = layer.media_type in mediatypes.FOREIGN
        progress.state(names[digest], "Skipped foreign layer" if foreign else "Layer already exists")
    progress.line(f"{job.name}: digest: {job.target.digest} size: {job.target.size}")


class Line:
    """One connection, for requests with small answers. OSError and h11.ProtocolError from every method."""

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

    def ask(self, method: str, target: str, *more: Header, body: bytes = b"") -> tuple[int, dict[str, str]]:
        """The status and the headers, names in lower case, of an answer that has no body."""
        headers = [("Host", self._host), ("User-Agent", USER_AGENT), *more]
        headers += [("Content-Length", str(len(body)))] * bool(body)
        events = (
            h11.Request(method=method, target=target, headers=headers),
            h11.Data(body),
            h11.EndOfMessage(),
        )
        # In one piece: the kernel would hold a second one back until the first is acknowledged, 40 ms later.
        self._socket.sendall(b"".join(self._http.send(event) or b"" for event in events))
        response = self._event(h11.Response)
        self._event(h11.EndOfMessage)
        self._http.start_next_cycle()
        return response.status_code, {
            name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers
        }

    def _event(self, kind: type[Event]) -> Event:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._socket.settimeout(max(0.001, self._until - time.monotonic()))
            self._http.receive_data(self._socket.recv(ANSWER))
        if not isinstance(event, kind):
            raise h11.RemoteProtocolError(f"{type(event).__name__} instead of {kind.__name__}")
        return event
