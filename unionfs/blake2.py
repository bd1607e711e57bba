"""blake2b without the rest of hashlib, which loads OpenSSL for it (3 ms, a twentieth of a mount's start)."""

from __future__ import annotations

try:
    from _blake2 import blake2b  # what hashlib itself gives by this name
except ImportError:  # another Python, or one that was built without it
    from hashlib import blake2b

__all__ = ["blake2b"]
