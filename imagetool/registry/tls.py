"""Certificates: the system's, those of the environment, and those of certs.d for one registry.

`certs.d/HOST:PORT/` holds `*.crt` (more authorities) and pairs `NAME.cert` + `NAME.key` (what to show to
the server), as for Docker and podman. SSL_CERT_FILE and SSL_CERT_DIR replace the system's authorities
(OpenSSL reads them), REQUESTS_CA_BUNDLE does where SSL_CERT_FILE is not set.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from imagetool.errors import UsageError
from unionfs.annotations import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl


class Certificates:
    """Makes TLS contexts, one for each host; `folders` are the certs.d directories, the first found wins."""

    __slots__ = ("_bundle", "_contexts", "folders")

    def __init__(
        self, folders: tuple[str, ...] | None = None, environ: Mapping[str, str] = os.environ
    ) -> None:
        self.folders = tuple(_default_folders(environ)) if folders is None else folders
        self._bundle = "" if environ.get("SSL_CERT_FILE") else environ.get("REQUESTS_CA_BUNDLE", "")
        self._contexts: dict[tuple[str, bool], ssl.SSLContext] = {}

    def context(self, authority: str, *, verify: bool = True) -> ssl.SSLContext:
        """The context for `host[:port]`; UsageError names the file that cannot be used."""
        folder = self._folder(authority)
        key = (folder, verify)
        if key not in self._contexts:
            self._contexts[key] = self._make(folder, verify)
        return self._contexts[key]

    def knows(self, authority: str) -> bool:
        """Whether some certs.d has a directory of that name."""
        return bool(self._folder(authority))

    def _folder(self, authority: str) -> str:
        if "/" in authority or authority.startswith("."):
            return ""
        found = (os.path.join(folder, authority) for folder in self.folders)
        return next((path for path in found if os.path.isdir(path)), "")

    def _make(self, folder: str, verify: bool) -> ssl.SSLContext:
        import ssl  # 6 ms, and plain HTTP needs none

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if verify:
            _trust(context, self._bundle)
        else:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        for path in _listed(folder, ".crt"):
            _trust(context, path)
        for path in _listed(folder, ".cert"):
            _show(context, path)
        return context


def _default_folders(environ: Mapping[str, str]) -> Iterator[str]:
    config = environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    yield os.path.join(config, "containers", "certs.d")
    yield "/etc/containers/certs.d"
    yield "/etc/docker/certs.d"


def _listed(folder: str, ending: str) -> list[str]:
    if not folder:
        return []
    return sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(ending))


def _trust(context: ssl.SSLContext, path: str) -> None:
    try:
        if not path:
            context.load_default_certs()
        elif os.path.isdir(path):
            context.load_verify_locations(capath=path)
        else:
            context.load_verify_locations(cafile=path)
    except OSError as error:  # ssl.SSLError is one
        raise UsageError(f"cannot use the certificate authorities of {path}: {_why(error)}") from None


def _show(context: ssl.SSLContext, path: str) -> None:
    key = path.removesuffix(".cert") + ".key"
    try:
        context.load_cert_chain(path, key, password=_no_password)
    except OSError as error:  # ssl.SSLError is one
        raise UsageError(f"cannot use the client certificate {path} with {key}: {_why(error)}") from None


def _no_password() -> str:
    """OpenSSL would ask on the terminal for the password of a locked key."""
    raise OSError(0, "the key has a password")


def _why(error: OSError) -> str:
    return getattr(error, "reason", "") or error.strerror or str(error)
