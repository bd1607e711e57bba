"""PURE: instructions that touch no file: what they make of the run configuration, and their line in the history.

Source: the Dockerfile reference; the lines of the history are those of Docker's builder.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Sequence

from imagetool.build import instructions as asked
from imagetool.build.instructions import Command, Healthcheck, Instruction
from imagetool.errors import UsageError
from imagetool.spec import RunConfig
from imagetool.spec.fields import Json

DEFAULT_SHELL = ("/bin/sh", "-c")

Expand = Callable[[str], str]
Split = Callable[[str], list[str]]
"""Expands, and splits into words what was not quoted."""

_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?", re.IGNORECASE)
_PORT_MAX = 65535


def changed(run: RunConfig, step: Instruction, full: Expand, words: Split) -> tuple[RunConfig, str] | None:
    """The configuration after `step` and what was done, as the history has it; None for what works on files.

    UsageError for a port, signal or the like that is none.
    """
    match step:
        case asked.Cmd(command=command):
            argv = command_words(command, run.shell)
            return run._replace(cmd=argv), f"CMD {_listed(argv)}"
        case asked.Entrypoint(command=command):
            argv = command_words(command, run.shell)
            return run._replace(entrypoint=argv), f"ENTRYPOINT {_listed(argv)}"
        case asked.Env(pairs=pairs):
            found = [(full(key), full(value)) for key, value in pairs]
            return run._replace(env=with_env(run.env, found)), f"ENV {_pairs(found)}"
        case asked.Label(pairs=pairs):
            found = [(full(key), full(value)) for key, value in pairs]
            return run._replace(labels={**run.labels, **dict(found)}), f"LABEL {_pairs(found)}"
        case asked.Expose(ports=text):
            ports = [port for word in words(text) for port in _ports(word)]
            return run._replace(exposed_ports=_merged(run.exposed_ports, ports)), f"EXPOSE {' '.join(ports)}"
        case asked.Volume(paths=paths):
            targets = [full(path) for path in paths]
            if not all(target.strip() for target in targets):
                raise UsageError("VOLUME specified can not be an empty string")
            return run._replace(volumes=_merged(run.volumes, targets)), f"VOLUME [{' '.join(targets)}]"
        case asked.User(user=text):
            return run._replace(user=full(text)), f"USER {full(text)}"
        case asked.StopSignal(signal=text):
            from imagetool.runtime import signals

            signals.number(full(text))
            return run._replace(stop_signal=full(text)), f"STOPSIGNAL {full(text)}"
        case asked.Onbuild(trigger=trigger):
            return run._replace(on_build=(*run.on_build, trigger)), f"ONBUILD {trigger}"
        case asked.Shell(words=argv):
            return run._replace(shell=tuple(argv)), f"SHELL {_listed(argv)}"
        case asked.Healthcheck():
            check = _healthcheck(step, run.shell)
            return run._replace(healthcheck=check), f"HEALTHCHECK {_listed(check['Test'])}"
    return None


def command_words(command: Command, shell: Sequence[str]) -> tuple[str, ...]:
    """The exec form as it is; the shell form as the one argument of the shell."""
    return (*(shell or DEFAULT_SHELL), *command.words) if command.shell else tuple(command.words)


def directory(current: str, path: str) -> str:
    """WORKDIR: absolute, or relative to the one before."""
    return posixpath.normpath(posixpath.join("/", current, path)).replace("//", "/")


def with_env(env: Sequence[str], pairs: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """A variable that was there keeps its place."""
    table = {row.partition("=")[0]: row for row in env}
    table.update((key, f"{key}={value}") for key, value in pairs)
    return tuple(table.values())


def variables(env: Sequence[str]) -> dict[str, str]:
    return dict(row.partition("=")[::2] for row in env)


def _healthcheck(step: Healthcheck, shell: Sequence[str]) -> dict[str, Json]:
    """The object that Docker added to the image config; durations in nanoseconds."""
    command = step.command
    if command is None:
        return {"Test": ["NONE"]}
    test: dict[str, Json] = {"Test": ["CMD-SHELL" if command.shell else "CMD", *command.words]}
    rest = {
        "Interval": step.interval, "Timeout": step.timeout, "StartPeriod": step.start_period,
        "StartInterval": step.start_interval, "Retries": step.retries,
    }  # fmt: skip
    return test | {key: value for key, value in rest.items() if value}


def _ports(word: str) -> list[str]:
    """`80`, `53/udp` or `8000-8002/tcp`, each port by itself."""
    match = _PORT.fullmatch(word)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not match or first > last or not 0 < last <= _PORT_MAX:
        raise UsageError(f"invalid port {word!r}", hint="as in 80, 53/udp or 8000-8010")
    return [f"{port}/{(match[3] or 'tcp').lower()}" for port in range(first, last + 1)]


def _merged(old: Sequence[str], new: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted({*old, *new}))


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    return " ".join(f"{key}={value}" for key, value in pairs)


def _listed(words: Sequence[str]) -> str:
    return "[" + " ".join('"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"' for word in words) + "]"
