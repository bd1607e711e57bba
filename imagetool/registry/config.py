"""registries.conf, version 2 (containers-registries.conf(5)): where an image really is to be fetched.

Read from $CONTAINERS_REGISTRIES_CONF, else ~/.config/containers, else /etc/containers, then the
`registries.conf.d/*.conf` of both. Names without a registry follow the aliases, else Docker's default:
`unqualified-search-registries` is not consulted, because guessing a registry lets others answer for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from imagetool import reference as references
from imagetool.errors import RegistryError, UsageError
from imagetool.reference import Reference
from unionfs.annotations import Any
from unionfs.namedtuple import NamedTuple

SYSTEM = "/etc/containers"
API_HOSTS = {"docker.io": "registry-1.docker.io"}
"""Domains whose API is served by another host."""


class Mirror(NamedTuple):
    """A place to ask first; `pulls` is `all`, `digest-only` or `tag-only`."""

    location: str
    insecure: bool = False
    pulls: str = "all"


class Rule(NamedTuple):
    """One `[[registry]]` table: names that begin with `prefix` are at `location`."""

    prefix: str
    location: str
    insecure: bool = False
    blocked: bool = False
    mirrors: tuple[Mirror, ...] = ()


class Endpoint(NamedTuple):
    """Where to ask: an API host (`host[:port]`), the repository there, and whether plain HTTP is allowed."""

    host: str
    repository: str
    insecure: bool = False

    def __str__(self) -> str:
        return f"{self.host}/{self.repository}"


class Registries(NamedTuple):
    """Everything registries.conf says. PURE: the methods read no file and no environment."""

    rules: tuple[Rule, ...] = ()
    aliases: Mapping[str, str] = {}
    helpers: tuple[str, ...] = ()

    def parse(self, text: str) -> Reference:
        """`reference.parse` with the short-name aliases: for a name without registry and directory."""
        reference = references.parse(text)
        alias = self.aliases.get(_name(text))
        if not alias:
            return reference
        full = references.parse(alias)
        return full._replace(tag=reference.tag, digest=reference.digest)

    def endpoints(self, reference: Reference, *, push: bool = False) -> tuple[Endpoint, ...]:
        """Where to look for `reference`, in order: its mirrors, then its registry. A push skips mirrors.

        RegistryError if the configuration blocks the registry.
        """
        name = reference.repository
        rule = self._rule(name)
        if rule is None:
            return (_endpoint(name, False),)
        if rule.blocked:
            raise RegistryError(
                f"registry {reference.domain} is blocked",
                hint=f"by prefix {rule.prefix!r} in registries.conf",
            )
        mirrors = () if push else tuple(m for m in rule.mirrors if _serves(m, reference))
        rest = name[_prefix_length(rule.prefix, name) :]
        own = _endpoint(rule.location + rest if rule.location else name, rule.insecure)
        return (*(_endpoint(m.location + rest, m.insecure) for m in mirrors), own)

    def insecure(self, domain: str) -> bool:
        """Whether plain HTTP and unknown certificates are allowed for a whole registry."""
        rule = self._rule(domain)
        return rule is not None and rule.insecure

    def insecurely(self, domain: str) -> Registries:
        """With plain HTTP and unknown certificates allowed for one registry; whatever else is said of it holds."""
        own = (self._rule(domain) or Rule(domain, ""))._replace(prefix=domain)
        rules = {rule.prefix: rule for rule in self.rules} | {domain: own}
        allowed = (
            rule._replace(insecure=True) if f"{rule.prefix}/".startswith(f"{domain}/") else rule
            for rule in rules.values()
        )
        return self._replace(rules=tuple(allowed))

    def _rule(self, name: str) -> Rule | None:
        fits = [rule for rule in self.rules if _prefix_length(rule.prefix, name)]
        return max(fits, key=lambda rule: len(rule.prefix), default=None)


def api_host(domain: str) -> str:
    """The host that serves the API of a domain."""
    return API_HOSTS.get(domain, domain)


def domain_of(host: str) -> str:
    """The domain that people write for an API host: the inverse of `api_host`."""
    return next((domain for domain, api in API_HOSTS.items() if api == host), host)


def load(environ: Mapping[str, str] = os.environ, *, system: str = SYSTEM) -> Registries:
    """The configuration in force; UsageError names the file and the key that is wrong."""
    rules: dict[str, Rule] = {}
    aliases: dict[str, str] = {}
    helpers: tuple[str, ...] = ()
    for path in _files(environ, system):
        table = _read(path)
        rules.update((rule.prefix, rule) for rule in _rules(table, path))
        aliases.update(_aliases(table, path))
        helpers = tuple(_strings(table.get("credential-helpers", helpers), "credential-helpers", path))
    return Registries(tuple(rules.values()), aliases, helpers)


def _files(environ: Mapping[str, str], system: str) -> Iterable[str]:
    user = os.path.join(environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"), "containers")
    explicit = environ.get("CONTAINERS_REGISTRIES_CONF")
    if explicit and not os.path.exists(explicit):
        raise UsageError(f"no such file: {explicit}", hint="it is named by $CONTAINERS_REGISTRIES_CONF")
    main = [explicit] if explicit else [f"{folder}/registries.conf" for folder in (user, system)]
    yield from [path for path in main if os.path.exists(path)][:1]
    if explicit:
        return
    for folder in (f"{system}/registries.conf.d", f"{user}/registries.conf.d"):
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        yield from (os.path.join(folder, name) for name in names if name.endswith(".conf"))


def _read(path: str) -> dict[str, Any]:
    import tomllib  # 3 ms, and most machines have no such file

    try:
        with open(path, "rb") as file:
            table = tomllib.load(file)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    if "registries" in table:
        raise UsageError(f"{path} is in the old format", hint="use version 2: [[registry]] tables")
    return table


def _rules(table: Mapping[str, Any], path: str) -> Iterable[Rule]:
    for row in _tables(table.get("registry", []), "registry", path):
        location = _string(row, "location", path)
        prefix = _string(row, "prefix", path) or location
        if not prefix or (not location and not prefix.startswith("*.") and "location" in row):
            raise UsageError(f"{path}: a [[registry]] has neither prefix nor location")
        mirrors = tuple(_mirrors(row, path))
        yield Rule(prefix, location, _bool(row, "insecure", path), _bool(row, "blocked", path), mirrors)


def _mirrors(row: Mapping[str, Any], path: str) -> Iterable[Mirror]:
    only_digests = _bool(row, "mirror-by-digest-only", path)
    for mirror in _tables(row.get("mirror", []), "registry.mirror", path):
        location = _string(mirror, "location", path)
        if not location:
            raise UsageError(f"{path}: a [[registry.mirror]] has no location")
        pulls = _string(mirror, "pull-from-mirror", path) or ("digest-only" if only_digests else "all")
        if pulls not in ("all", "digest-only", "tag-only"):
            raise UsageError(f"{path}: pull-from-mirror = {pulls!r}", hint="all, digest-only or tag-only")
        yield Mirror(location, _bool(mirror, "insecure", path), pulls)


def _aliases(table: Mapping[str, Any], path: str) -> dict[str, str]:
    rows = table.get("aliases", {})
    if not isinstance(rows, dict) or not all(isinstance(value, str) for value in rows.values()):
        raise UsageError(f"{path}: [aliases] must map names to names")
    return rows


def _tables(value: Any, key: str, path: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise UsageError(f"{path}: {key} must be written as [[{key}]]")
    return value


def _string(row: Mapping[str, Any], key: str, path: str) -> str:
    value = row.get(key, "")
    if not isinstance(value, str):
        raise UsageError(f"{path}: {key} must be a string")
    return value.rstrip("/")


def _strings(value: Any, key: str, path: str) -> Sequence[str]:
    if not isinstance(value, list | tuple) or not all(isinstance(row, str) for row in value):
        raise UsageError(f"{path}: {key} must be a list of strings")
    return value


def _bool(row: Mapping[str, Any], key: str, path: str) -> bool:
    value = row.get(key, False)
    if not isinstance(value, bool):
        raise UsageError(f"{path}: {key} must be true or false")
    return value


def _name(text: str) -> str:
    name = text.partition("@")[0]
    return name.rpartition(":")[0] if ":" in name.rpartition("/")[2] else name


def _serves(mirror: Mirror, reference: Reference) -> bool:
    return mirror.pulls in ("all", "digest-only" if reference.digest else "tag-only")


def _prefix_length(prefix: str, name: str) -> int:
    """How much of `name` the prefix covers: whole components, or for `*.domain` the whole host; else 0."""
    if prefix.startswith("*."):
        host = name.partition("/")[0]
        return len(host) if host.partition(":")[0].endswith(prefix[1:]) else 0
    whole = name == prefix or name.startswith(prefix + "/")
    return len(prefix) if whole else 0


def _endpoint(name: str, insecure: bool) -> Endpoint:
    domain, _, path = name.partition("/")
    return Endpoint(api_host(domain), path, insecure)
