"""PURE: which variables an instruction sees: ARG scopes, ENV, and the arguments that nobody need declare."""

from __future__ import annotations

from collections.abc import Mapping

from unionfs.namedtuple import NamedTuple

PREDEFINED = tuple(
    spelled
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
    for spelled in (name, name.lower())
)
"""Usable by RUN without an ARG, and kept out of history and cache keys."""


class Scope(NamedTuple):
    """The variables at one point of a stage. Every change makes a new one."""

    env: Mapping[str, str] = {}  # ENV, and what the base image had
    args: Mapping[str, str | None] = {}  # declared in this stage or those it builds on; None has no value
    build_args: Mapping[str, str] = {}  # of the command line
    global_args: Mapping[str, str] = {}  # before the first FROM, and the platforms

    def declare(self, name: str, default: str | None) -> Scope:
        """ARG: the command line's value, else the default written here, else the one before the first FROM, else
        what it has already."""
        known = {**self.args, **self.global_args}.get(name)
        value = self.build_args.get(name, known if default is None else default)
        return self._replace(args={**self.args, name: value})

    def with_env(self, name: str, value: str) -> Scope:
        return self._replace(env={**self.env, name: value})

    def values(self) -> dict[str, str]:
        """For expansion: ENV always wins over ARG."""
        return {k: v for k, v in self.args.items() if v is not None} | dict(self.env)

    def run_environment(self) -> tuple[dict[str, str], dict[str, str]]:
        """For RUN: (what counts for the cache, predefined arguments that do not, in either spelling)."""
        given = {k: v for k, v in self.build_args.items() if k in PREDEFINED}
        both = {spelled: v for k, v in given.items() for spelled in (k.upper(), k.lower())} | given
        return self.values(), {k: v for k, v in both.items() if k not in self.args and k not in self.env}


def platform_args(target: str, build: str, stage: str = "") -> dict[str, str]:
    """The global arguments TARGET…, BUILD… of platforms such as linux/arm64/v8."""
    found = {"TARGETSTAGE": stage or "default"}
    for prefix, platform in (("TARGET", target), ("BUILD", build)):
        os_name, architecture, variant = (*platform.split("/"), "", "")[:3]
        found |= {
            f"{prefix}PLATFORM": platform,
            f"{prefix}OS": os_name,
            f"{prefix}ARCH": architecture,
            f"{prefix}VARIANT": variant,
        }
    return found
