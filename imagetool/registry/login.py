"""Logging in and out: the registry is asked whether it accepts the credentials before they are kept."""

from imagetool.errors import RegistryError, Unauthorized
from imagetool.registry.client import Client
from imagetool.registry.config import Registries, api_host
from imagetool.registry.credentials import Credentials, Keyring

ANY = frozenset({200, 401, 403, 404, 405})


async def login(
    client: Client, keyring: Keyring, registries: Registries, domain: str, credentials: Credentials
) -> str:
    """Keep the credentials if the registry accepts them; returns the file or helper that has them now.

    Unauthorized when it does not; nothing is kept then.
    """
    if ":" in credentials.username:
        raise RegistryError("a user name cannot have a colon in it")
    await verify(client, registries, domain, credentials)
    return keyring.save(domain, credentials)


async def verify(client: Client, registries: Registries, domain: str, credentials: Credentials) -> None:
    """Unauthorized unless the registry accepts them; RegistryError if there is no registry."""
    insecure = registries.insecure(domain)
    registry = client.registry(api_host(domain), insecure=insecure, credentials=credentials)
    what = f"login to {domain} as {credentials.username}"
    try:
        answer = await registry.answer("GET", "/v2/", what, scopes=frozenset(), wanted=ANY)
    except Unauthorized as error:
        raise Unauthorized(f"{what}: unauthorized: incorrect username or password", status=401) from error
    if answer.response.status != 200:
        raise RegistryError(
            f"{what}: there is no registry", hint="it has no /v2/", status=answer.response.status
        )


def logout(keyring: Keyring, domain: str) -> tuple[bool, bool]:
    """Forget the credentials: whether there were some, and whether another file still has some."""
    erased = keyring.erase(domain)
    return erased, keyring.find(domain) is not None
