"""Credentials at rest: Docker's config.json, containers' auth.json, and credential helpers.

Looked up in this order, the first match wins: $REGISTRY_AUTH_FILE alone if it is set; else Docker's
config.json ($DOCKER_CONFIG, ~/.docker), where `login` writes; $XDG_RUNTIME_DIR/containers/auth.json;
~/.config/containers/auth.json. A file may name a helper program (docker-credential-NAME) for one registry
(`credHelpers`) or for all (`credsStore`). Secrets go to a helper by its standard input, never by argv.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import subprocess
from collections.abc import Iterator, Mapping

from imagetool.errors import RegistryError, UsageError
from imagetool.registry.errors import clean
from unionfs.annotations import Any
from unionfs.namedtuple import NamedTuple

DOCKER_HUB_KEY = "https://index.docker.io/v1/"
IDENTITY_TOKEN_USER = "<token>"
MAX_FILE = 4 << 20
HELPER_SECONDS = 60  # a helper may ask its user for a passphrase
NOT_FOUND = "credentials not found in native keychain"  # docker-credential-helpers' way to say so
FILES_HELPER = "containers-auth.json"  # the name for "no helper" in registries.conf


class Credentials(NamedTuple):
    """A user and a password, or an identity token (an OAuth2 refresh token). Shows neither."""

    username: str = ""
    password: str = ""
    identity_token: str = ""

    def __repr__(self) -> str:
        return f"Credentials({self.username!r}, ***)"

    def basic(self) -> str:
        """The value of an `Authorization` header (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


class Keyring:
    """Where credentials are found and kept. `helpers` are tried last: registries.conf's list."""

    __slots__ = ("_helpers", "paths")

    def __init__(self, environ: Mapping[str, str] = os.environ, helpers: tuple[str, ...] = ()) -> None:
        self.paths = tuple(_paths(environ))
        self._helpers = tuple(name for name in helpers if name != FILES_HELPER)

    def find(self, domain: str, repository: str = "") -> Credentials | None:
        """The credentials for a registry, or for a repository below it where a file knows more.

        RegistryError for a file or helper that cannot be used: silence would look like a wrong password.
        """
        for path in self.paths:
            if found := _find_in(_load(path), path, domain, repository):
                return found
        for helper in self._helpers:
            if found := _ask(helper, domain):
                return found
        return None

    def save(self, domain: str, credentials: Credentials) -> str:
        """Keep them in the first file, mode 0600, or in the helper that it names; returns which of them."""
        path = self.paths[0]
        table = _load(path)
        key = _key(domain)
        if helper := _helper_for(table, path, domain):
            secret = credentials.identity_token or credentials.password
            user = IDENTITY_TOKEN_USER if credentials.identity_token else credentials.username
            _run(helper, "store", json.dumps({"ServerURL": key, "Username": user, "Secret": secret}))
            return f"docker-credential-{helper}"
        _auths(table, path)[key] = _entry(credentials)
        _write(path, table)
        return path

    def erase(self, domain: str) -> bool:
        """Forget them wherever `save` puts them; False if they were not there."""
        path = self.paths[0]
        table = _load(path)
        helper = _helper_for(table, path, domain)
        if helper:
            known = _ask(helper, domain) is not None
            _run(helper, "erase", _key(domain))
        else:
            known = False
        auths = _auths(table, path)
        gone = [auths.pop(key) for key in _keys(domain, "") if key in auths]
        if gone:
            _write(path, table)
        return known or bool(gone)


def _paths(environ: Mapping[str, str]) -> Iterator[str]:
    if explicit := environ.get("REGISTRY_AUTH_FILE"):
        yield explicit
        return
    home = environ.get("HOME") or os.path.expanduser("~")
    yield os.path.join(environ.get("DOCKER_CONFIG") or os.path.join(home, ".docker"), "config.json")
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        yield os.path.join(runtime, "containers", "auth.json")
    yield os.path.join(
        environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config"), "containers", "auth.json"
    )


def _keys(domain: str, repository: str) -> Iterator[str]:
    """The names under which a file may know a registry: its repositories first, the longest first."""
    parts = f"{domain}/{repository}".rstrip("/").split("/")
    for length in range(len(parts), 0, -1):
        yield "/".join(parts[:length])
    if domain == "docker.io":
        yield DOCKER_HUB_KEY
        yield "index.docker.io"
        yield "registry-1.docker.io"
    for prefix in ("https://", "http://"):
        for suffix in ("", "/", "/v1/", "/v2/"):
            yield f"{prefix}{domain}{suffix}"


def _key(domain: str) -> str:
    return DOCKER_HUB_KEY if domain == "docker.io" else domain


def _find_in(table: dict[str, Any], path: str, domain: str, repository: str) -> Credentials | None:
    helper = _helper_for(table, path, domain)
    if helper and (found := _ask(helper, domain)):
        return found
    auths = _auths(table, path)
    for key in _keys(domain, repository):
        if key in auths and (found := _decode(auths[key], path, key)):
            return found
    return None


def _helper_for(table: dict[str, Any], path: str, domain: str) -> str:
    helpers = table.get("credHelpers") or {}
    if not isinstance(helpers, dict):
        raise UsageError(f"{path}: credHelpers must map registries to helpers")
    names = [helpers[key] for key in (domain, _key(domain)) if key in helpers]
    name = names[0] if names else table.get("credsStore") or ""
    if not isinstance(name, str) or "/" in name or "\0" in name:
        raise UsageError(f"{path}: {name!r} is not the name of a credential helper")
    return name


def _auths(table: dict[str, Any], path: str) -> dict[str, Any]:
    auths = table.setdefault("auths", {})
    if not isinstance(auths, dict):
        raise UsageError(f"{path}: auths must be an object")
    return auths


def _decode(entry: Any, path: str, key: str) -> Credentials | None:
    """One row of `auths`; None for an empty one (Docker leaves those beside a helper)."""
    if not isinstance(entry, dict):
        raise UsageError(f"{path}: the entry for {key} is not an object")
    token = entry.get("identitytoken") or ""
    user, password = entry.get("username") or "", entry.get("password") or ""
    try:
        if encoded := entry.get("auth"):
            user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, ValueError, TypeError):
        hint = f"run 'imagetool login {key}' again"
        raise UsageError(f"{path}: the entry for {key} is damaged", hint=hint) from None
    if not (isinstance(token, str) and isinstance(user, str) and isinstance(password, str)):
        raise UsageError(f"{path}: the entry for {key} is damaged")
    return Credentials(user, password.rstrip("\0"), token) if user or token else None


def _entry(credentials: Credentials) -> dict[str, str]:
    plain = f"{credentials.username}:{credentials.password}"
    entry = {"auth": base64.b64encode(plain.encode()).decode()}
    return entry | ({"identitytoken": credentials.identity_token} if credentials.identity_token else {})


def _load(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE)
        table = json.loads(data) if data.strip() else {}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, RecursionError) as error:
        # The text of a decoding error may show what stands in the file.
        why = error.strerror if isinstance(error, OSError) else "it is not valid JSON"
        raise UsageError(f"cannot read {path}: {why}") from None
    if not isinstance(table, dict):
        raise UsageError(f"cannot read {path}: it is not a JSON object")
    return table


def _write(path: str, table: dict[str, Any]) -> None:
    """Replace the file in one step, private from its first byte on. A symbolic link stays one."""
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    temporary = os.path.join(folder, f".{os.path.basename(target)}.{os.getpid()}")
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(fd, "w") as file:
                json.dump(table, file, indent="\t")
                file.flush()
                os.fsync(fd)
            os.rename(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def _ask(helper: str, domain: str) -> Credentials | None:
    answer = _run(helper, "get", _key(domain))
    if answer is None:
        return None
    try:
        row = json.loads(answer)
        user, secret = row["Username"], row["Secret"]
    except (ValueError, LookupError, TypeError, RecursionError):
        raise RegistryError(f"docker-credential-{helper} gave an answer that is not credentials") from None
    return Credentials("", "", secret) if user == IDENTITY_TOKEN_USER else Credentials(user, secret)


def _run(helper: str, verb: str, text: str) -> str | None:
    """What the helper answers; None if it knows nothing of it (protocol of docker-credential-helpers)."""
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [program, verb], input=text.encode(), capture_output=True, timeout=HELPER_SECONDS, check=False
        )
    except FileNotFoundError:
        hint = f"install it, or take {helper!r} out of credsStore and credHelpers"
        raise RegistryError(f"credential helper {program} not found", hint=hint) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        why = "no answer" if isinstance(error, subprocess.TimeoutExpired) else error.strerror
        raise RegistryError(f"credential helper {program} failed: {why}") from None
    said = done.stdout[:MAX_FILE].decode(errors="replace").strip()
    if done.returncode == 0:
        return said
    if NOT_FOUND in said or verb == "erase":
        return None
    why = clean(said) if verb == "get" else ""  # an echo of `store` would show the secret
    raise RegistryError(f"credential helper {program} failed: {why or f'exit status {done.returncode}'}")
