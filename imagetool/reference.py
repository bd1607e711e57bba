"""Image names: the distribution grammar, Docker's defaults, and names as people write them.

The grammar is that of the distribution project's `reference` package:

    reference := name [ ":" tag ] [ "@" digest ]
    name      := [ domain "/" ] path-component [ "/" path-component ]*        at most 255 characters
    domain    := host [ ":" port ];  host := name | IPv4 | "[" IPv6 "]"

A first component is a domain when it has a dot or a colon, is `localhost`, or has an upper-case letter.
"""

from __future__ import annotations

import re

from imagetool import digest as digests
from imagetool.digest import Digest
from imagetool.errors import ImageToolError, InvalidReference
from unionfs.namedtuple import NamedTuple

DEFAULT_DOMAIN = "docker.io"
OFFICIAL = "library/"
DEFAULT_TAG = "latest"
NAME_MAX = 255

# As texts: re compiles what a command uses, and keeps it.
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_TAG = r"(?a:[\w][\w.-]{0,127})"
_ID = r"[0-9a-f]{64}"


class Reference(NamedTuple):
    """A full name. `tag` and `digest` are None where they were not given; both may be there."""

    domain: str
    path: str
    tag: str | None = None
    digest: Digest | None = None

    @property
    def repository(self) -> str:
        """The full name without tag and digest: `docker.io/library/debian`."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_repository(self) -> str:
        """The name as Docker shows it: `debian`, `user/app`, `quay.io/org/app`."""
        if self.domain != DEFAULT_DOMAIN:
            return self.repository
        rest = self.path.removeprefix(OFFICIAL)
        return rest if "/" not in rest else self.path

    def __str__(self) -> str:
        """The full name with all that is known: what the store records."""
        return self.repository + self._suffix()

    def familiar(self) -> str:
        """The short form with tag and digest: `debian:12`."""
        return self.familiar_repository + self._suffix()

    def tagged(self) -> Reference:
        """With `:latest` where neither a tag nor a digest was given."""
        return self if self.tag or self.digest else self._replace(tag=DEFAULT_TAG)

    def with_tag(self, tag: str) -> Reference:
        """The same repository under a tag, without a digest; InvalidReference for a bad tag."""
        if not re.fullmatch(_TAG, tag):
            raise _invalid(f"{self.familiar_repository}:{tag}", "a tag is letters, digits, '_', '.' and '-'")
        return self._replace(tag=tag, digest=None)

    def with_digest(self, digest: Digest) -> Reference:
        """The same repository by digest alone."""
        return self._replace(tag=None, digest=digest)

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def parse(text: str) -> Reference:
    """A name as a person writes it, with Docker's defaults for domain and `library/`, but no default tag.

    InvalidReference, with a hint, for what the grammar does not allow and for a bare 64-digit ID.
    """
    name, digest = _split_digest(text)
    name, tag = _split_tag(text, name)
    domain, path = _split_domain(name)
    if re.fullmatch(_ID, name):
        raise _invalid(text, "a 64-digit ID cannot be a name")
    _check_name(text, domain, path)
    return Reference(domain, path, tag, digest)


def parse_full(text: str) -> Reference:
    """A name as the store records it: nothing is defaulted. InvalidReference unless `str()` gives it back."""
    reference = parse(text)
    if str(reference) != text:
        raise _invalid(text, f"expected the full name {reference}")
    return reference


def is_id(text: str) -> bool:
    """Whether the text can be an image ID or a prefix of one: `sha256:…` or 1 to 64 hexadecimal digits."""
    value = text.removeprefix("sha256:")
    return 0 < len(value) <= 64 and all(c in "0123456789abcdef" for c in value)


def _split_digest(text: str) -> tuple[str, Digest | None]:
    name, at, tail = text.partition("@")
    if not at:
        return name, None
    try:
        return name, digests.parse(tail)
    except ImageToolError as error:
        raise _invalid(text, "after '@' comes a digest: sha256: and 64 hexadecimal digits") from error


def _split_tag(text: str, name: str) -> tuple[str, str | None]:
    slash = name.rfind("/")
    colon = name.rfind(":")
    if colon <= slash:
        return name, None
    if not re.fullmatch(_TAG, name[colon + 1 :]):
        raise _invalid(text, "a tag is 1 to 128 letters, digits, '_', '.' and '-'")
    return name[:colon], name[colon + 1 :]


def _split_domain(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    looks_like_host = "." in first or ":" in first or first == "localhost" or first != first.lower()
    if not slash or not looks_like_host:
        domain, path = DEFAULT_DOMAIN, name
    else:
        domain, path = first, rest
    if domain == "index.docker.io":  # the name of the registry before 2014; Docker still maps it
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = OFFICIAL + path
    return domain, path


def _check_name(text: str, domain: str, path: str) -> None:
    if domain != DEFAULT_DOMAIN and not re.fullmatch(_DOMAIN, domain):
        raise _invalid(text, f"{domain!r} is not a host name with an optional port")
    for component in path.split("/"):
        if not component or component == "" or path == OFFICIAL:
            raise _invalid(text, "a part of the name is empty")
        if not re.fullmatch(_COMPONENT, component):
            raise _invalid(text, _component_hint(component))
    if len(domain) + 1 + len(path) > NAME_MAX:
        raise _invalid(text, f"a name has at most {NAME_MAX} characters")


def _component_hint(component: str) -> str:
    if component != component.lower() and re.fullmatch(_COMPONENT, component.lower()):
        return f"a repository is written in lower case: {component.lower()}"
    return f"{component!r} is not letters a-z and digits joined by '.', '_', '__' or '-'"


_PASSWORD = r"^([a-z]+://[^/:@]+:|[^/:@]+:(?!\d+/)).*@(?!sha\d)"
"""Of a URL that was pasted with one: it does not belong into anybody's log."""


def _invalid(text: str, hint: str) -> InvalidReference:
    shown = re.sub(_PASSWORD, r"\1…@", text)
    shown = shown if len(shown) <= 120 else shown[:117] + "..."
    return InvalidReference(f"invalid reference format: {shown!r}", hint=hint)
