"""Containers through the command line, with the images of the end-to-end tests."""

from __future__ import annotations

from tests.imagetool.e2e.conftest import box, cli, server

__all__ = ["box", "cli", "server"]
