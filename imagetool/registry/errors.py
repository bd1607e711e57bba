"""What goes wrong between here and a registry, and how a server's own words are shown.

Nothing here ever holds a header, a password or a token: errors end up in logs and on terminals.
"""

import json

from imagetool.errors import Denied, NotFound, RateLimited, RegistryError, Unauthorized

MAX_WORDS = 300  # of a server's message in one line of ours


class ChallengeError(RegistryError):
    """A `WWW-Authenticate` header that breaks its grammar; the second line points at the column."""

    def __init__(self, line: str, column: int, why: str) -> None:
        shown = clean(line[max(0, column - 30) : column + 30])
        super().__init__(f"cannot read the authentication challenge at column {column}: {why}: {shown}")
        self.column = column


class TransportError(RegistryError):
    """No usable answer came. `transient`: the same request may work in a moment."""

    def __init__(self, text: str, *, hint: str = "", transient: bool = False) -> None:
        super().__init__(text, hint=hint)
        self.transient = transient


class Untrusted(TransportError):
    """A TLS server whose certificate no known authority has signed, or for another name, or expired."""


class Busy(TransportError):
    """An answer that says to come back later: `final` is the error if nobody does."""

    def __init__(self, final: RegistryError, retry_after: str) -> None:
        super().__init__(final.text, hint=final.hint, transient=True)
        self.final = final
        self.retry_after = retry_after


def clean(text: str) -> str:
    """A server's text on one line without control characters (they could drive a terminal), shortened."""
    shown = "".join(c if c.isprintable() else " " for c in text[: 4 * MAX_WORDS])
    shown = " ".join(shown.split())
    return shown if len(shown) <= MAX_WORDS else shown[: MAX_WORDS - 1] + "…"


def words(body: bytes) -> str:
    """The server's `code: message` lines (distribution-spec "Error Codes"), or nothing for another body."""
    try:
        errors = json.loads(body)["errors"]
        rows = [(str(row.get("code", "")), str(row.get("message", ""))) for row in errors]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ""
    return clean("; ".join(_row(code.lower().replace("_", " "), text) for code, text in rows[:3]))


def _row(code: str, text: str) -> str:
    """Many registries say the same twice."""
    return text if text.lower().startswith(code) else f"{code}: {text}"


def for_status(status: int, what: str, host: str, body: bytes = b"") -> RegistryError:
    """The error for an answer that is not the wanted one; `what` says what was asked for."""
    said = words(body)
    text = f"{what}: {said or _REASONS.get(status, 'unexpected answer')} ({host} answered {status})"
    if status == 401:
        return Unauthorized(text, hint=f"run 'imagetool login {host}'", status=status)
    if status == 403:
        return Denied(
            text, status=status, hint=f"may the account that 'imagetool login {host}' uses do this?"
        )
    if status == 404:
        return Missing(text, status=status)
    if status == 429:
        return RateLimited(text, hint="wait, or log in for a higher limit", status=status)
    return RegistryError(text, status=status)


class Missing(RegistryError, NotFound):
    """The registry has no such repository, tag, manifest or blob (404)."""


_REASONS = {
    400: "bad request",
    401: "authentication required",
    403: "access denied",
    404: "not found",
    405: "not supported by this registry",
    413: "too large for this registry",
    416: "range not satisfiable",
    429: "too many requests",
    500: "internal error of the registry",
    502: "bad gateway",
    503: "service unavailable",
    504: "gateway timeout",
}
