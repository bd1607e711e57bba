"""Every error that imagetool raises on purpose.

Library code raises these and never prints or exits; the command line shows `str(error)` as its one line
(what failed, on what, and in parentheses what to do) and exits with `exit_code`.
"""

from __future__ import annotations


class ImageToolError(Exception):
    """The root of them all: `text` says what failed and on what, `hint` what to do about it."""

    exit_code = 125

    def __init__(self, text: str, *, hint: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.text} ({self.hint})" if self.hint else self.text


class UsageError(ImageToolError):
    """What was asked for makes no sense: a bad filter, template, platform or option value."""


class InvalidReference(UsageError):
    """A name that the distribution grammar does not allow."""


class AmbiguousReference(UsageError):
    """A short ID that several images share."""


class NotFound(ImageToolError):
    """An image, blob, layer or container that is not here, or that a registry does not have."""


class Conflict(ImageToolError):
    """Refused because something still uses it (Docker's "conflict: …")."""


class Malformed(ImageToolError):
    """A manifest, index, config, archive or other document that breaks its specification."""


class Damaged(ImageToolError):
    """Bytes that are not what their digest, size or checksum says."""


class LimitExceeded(ImageToolError):
    """A size bound was passed; the hint names the option that raises it."""


class NoSpace(ImageToolError):
    """The disk is full, or would be."""


class StoreError(ImageToolError):
    """The store itself cannot be used: wrong version, no permission, not a directory."""


class RegistryError(ImageToolError):
    """A registry, or the way to it, failed; `status` is the HTTP status, 0 without an answer."""

    def __init__(self, text: str, *, hint: str = "", status: int = 0) -> None:
        super().__init__(text, hint=hint)
        self.status = status


class Unauthorized(RegistryError):
    """The registry wants credentials, or refuses these (401)."""


class Denied(RegistryError):
    """The credentials are known and do not allow it (403)."""


class RateLimited(RegistryError):
    """Too many requests (429) after all retries."""
