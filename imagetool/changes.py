"""`--change`: instructions of a Dockerfile that alter how a container of an image is started."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from imagetool.build import instructions as asked
from imagetool.build.dockerfile import parse
from imagetool.build.expand import expand, expand_words
from imagetool.build.instructions import Command, Instruction
from imagetool.errors import UsageError
from imagetool.spec import RunConfig

DEFAULT_SHELL = ("/bin/sh", "-c")


def changed(texts: Iterable[str]) -> Callable[[RunConfig], RunConfig]:
    """What all the instructions together do. UsageError for one that is wrong, or that is for builds alone."""
    steps = [_parsed(text) for text in texts]

    def change(run: RunConfig) -> RunConfig:
        for step in steps:
            run = apply(run, step)
        return run

    change(RunConfig())  # what is refused is refused before anything is done
    return change


def apply(run: RunConfig, step: Instruction) -> RunConfig:
    """PURE: the run configuration after one instruction; variables are those of the image."""
    values = dict(row.partition("=")[::2] for row in run.env)

    def full(text: str) -> str:
        return expand(text, values)

    match step:
        case asked.Cmd(command=command):
            return run._replace(cmd=_words(command, run.shell))
        case asked.Entrypoint(command=command):
            return run._replace(entrypoint=_words(command, run.shell))
        case asked.Env(pairs=pairs):
            return run._replace(env=_with_env(run.env, [(full(key), full(value)) for key, value in pairs]))
        case asked.Label(pairs=pairs):
            return run._replace(labels={**run.labels, **{full(key): full(value) for key, value in pairs}})
        case asked.Expose(ports=ports):
            named = [port if "/" in port else f"{port}/tcp" for port in expand_words(ports, values)]
            return run._replace(exposed_ports=tuple(sorted({*run.exposed_ports, *named})))
        case asked.Volume(paths=paths):
            return run._replace(volumes=tuple(sorted({*run.volumes, *map(full, paths)})))
        case asked.User(user=user):
            return run._replace(user=full(user))
        case asked.Workdir(path=path):
            return run._replace(working_dir=_below(run.working_dir, full(path)))
        case asked.StopSignal(signal=signal):
            return run._replace(stop_signal=full(signal))
        case asked.Onbuild(trigger=trigger):
            return run._replace(on_build=(*run.on_build, trigger))
    raise UsageError(f"{step.at.text.split()[0]} is not a valid change", hint=f"valid: {VALID}")


VALID = "CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR"


def _parsed(text: str) -> Instruction:
    """The instruction of one text; a FROM before it, as every Dockerfile begins with one."""
    found = parse(f"FROM scratch\n{text}\n", "--change").instructions
    if len(found) != 2:
        raise UsageError(f"--change {text!r} is not one instruction")
    return found[1]


def _words(command: Command, shell: Sequence[str]) -> tuple[str, ...]:
    return (*(shell or DEFAULT_SHELL), *command.words) if command.shell else tuple(command.words)


def _with_env(env: Sequence[str], pairs: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    table = {row.partition("=")[0]: row for row in env}
    table.update((key, f"{key}={value}") for key, value in pairs)
    return tuple(table.values())


def _below(folder: str, path: str) -> str:
    import posixpath

    return posixpath.normpath(posixpath.join("/", folder, path))
