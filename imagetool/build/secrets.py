"""`--secret` and `--ssh`: what a RUN may ask for by a name, and never leaves in a layer, a key or the history."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence

from imagetool.errors import NotFound, UsageError
from unionfs.namedtuple import NamedTuple

_LIMIT = 512 << 10  # bytes of a secret, as BuildKit has it


class Secret(NamedTuple):
    """Where a secret comes from: a file, or a variable of the caller's environment."""

    file: str = ""
    variable: str = ""

    def check(self, name: str) -> None:
        """NotFound for a file that is not there: better said before anything runs."""
        if self.file and not os.path.exists(self.file):
            raise NotFound(f"secret {name}: {self.file}: No such file or directory")

    def read(self, name: str) -> bytes:
        """NotFound, UsageError for one that is too large."""
        if self.variable:
            try:
                return os.environb[os.fsencode(self.variable)]
            except KeyError:
                raise NotFound(f"secret {name}: the variable {self.variable} is not set") from None
        try:
            with open(self.file, "rb") as file:
                data = file.read(_LIMIT + 1)
        except OSError as error:
            raise NotFound(f"secret {name}: {self.file}: {error.strerror}") from error
        if len(data) > _LIMIT:
            raise UsageError(f"secret {name}: {self.file} is larger than {_LIMIT} bytes")
        return data


def parse_secrets(texts: Sequence[str]) -> dict[str, Secret]:
    """`id=NAME[,src=FILE|,env=VARIABLE][,type=file|env]`; without a source, the variable or the file NAME."""
    found = dict(_secret(text) for text in texts)
    for name, secret in found.items():
        secret.check(name)
    return found


def parse_ssh(texts: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """`default` or `NAME=SOCKET`: name -> path of an agent's socket. UsageError for what is no socket."""
    found = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals:
            path = environment.get("SSH_AUTH_SOCK", "")
            if not path:
                raise UsageError(f"--ssh {text}: SSH_AUTH_SOCK is not set", hint="start an agent: ssh-agent")
        if not _is_socket(path):
            hint = "give the socket of an agent that has the key"
            raise UsageError(f"--ssh {text}: {path or 'nothing'} is not a socket", hint=hint)
        found[name or "default"] = os.path.abspath(path)
    return found


def _secret(text: str) -> tuple[str, Secret]:
    given: dict[str, str] = {}
    for field in text.split(","):
        key, equals, value = field.partition("=")
        if key not in ("id", "src", "source", "env", "type") or not equals:
            raise UsageError(f"invalid secret {text!r}", hint="id=NAME,src=FILE or id=NAME,env=VARIABLE")
        given["src" if key == "source" else key] = value
    name = given.get("id") or os.path.basename(given.get("src", ""))
    if not name:
        raise UsageError(f"invalid secret {text!r}: it has no id")
    kind = given.get("type", "")
    if kind not in ("", "file", "env"):
        raise UsageError(f"invalid secret {text!r}: type {kind!r} is neither file nor env")
    if "src" in given and kind != "env":
        return name, Secret(file=os.path.abspath(given["src"]))
    if "env" in given or kind == "env":
        return name, Secret(variable=given.get("env") or given.get("src") or name)
    return name, Secret(variable=name) if name in os.environ else Secret(file=os.path.abspath(name))


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False
