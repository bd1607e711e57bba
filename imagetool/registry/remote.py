"""All that a command needs to reach registries, from the environment: `async with connect() as remote`."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from imagetool.reference import Reference
from imagetool.registry import config
from imagetool.registry.client import Client
from imagetool.registry.config import Endpoint, Registries
from imagetool.registry.credentials import Credentials, Keyring
from imagetool.registry.repository import Repository
from imagetool.registry.retry import Policy
from imagetool.registry.tls import Certificates
from imagetool.registry.transport import Timeouts, Transport

DEFAULT_POLICY = Policy()
DEFAULT_TIMEOUTS = Timeouts()


class Remote:
    """Registries, and who we are to them. `credentials` given by hand replace those that are kept."""

    def __init__(
        self, client: Client, registries: Registries, keyring: Keyring, credentials: Credentials | None = None
    ) -> None:
        self.client = client
        self.registries = registries
        self.keyring = keyring
        self._credentials = credentials

    def repositories(self, reference: Reference, *, push: bool = False) -> list[Repository]:
        """Where the reference may be, the first to be asked first; for a push the one place to write to."""
        endpoints = self.registries.endpoints(reference, push=push)
        return [self._repository(endpoint, push, last=endpoint == endpoints[-1]) for endpoint in endpoints]

    def _repository(self, endpoint: Endpoint, push: bool, *, last: bool) -> Repository:
        registry = self.client.registry(
            endpoint.host,
            repository=endpoint.repository,
            insecure=endpoint.insecure,
            credentials=self._credentials
            if last
            else None,  # they were given for the registry, not its mirrors
        )
        return Repository(registry, endpoint.repository, *(("pull", "push") if push else ("pull",)))


@asynccontextmanager
async def connect(
    *,
    credentials: Credentials | None = None,
    certificates: Certificates | None = None,
    registries: Registries | None = None,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
    policy: Policy = DEFAULT_POLICY,
    environ: Mapping[str, str] = os.environ,
) -> AsyncIterator[Remote]:
    """A Remote whose connections are closed at the end. UsageError for a bad configuration."""
    registries = config.load(environ) if registries is None else registries
    keyring = Keyring(environ, registries.helpers)
    async with Transport(certificates, timeouts, policy, environ) as transport:
        yield Remote(Client(transport, keyring), registries, keyring, credentials)
