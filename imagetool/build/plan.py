"""PURE: the stages of a Dockerfile, which of them a target needs, and what each waits for.

Stages that the target does not need are not in the plan; those without a way to each other may run at once.
"""

from __future__ import annotations

from collections.abc import Mapping

from imagetool.build import runmount
from imagetool.build.dockerfile import Dockerfile
from imagetool.build.expand import ExpansionError, expand
from imagetool.build.instructions import Arg, From, Instruction, Run, Transfer
from imagetool.build.scope import PREDEFINED, Scope, platform_args
from imagetool.errors import NotFound
from unionfs.namedtuple import NamedTuple


class Stage(NamedTuple):
    """One FROM and what follows it. A source is a stage's number or an image's reference."""

    number: int  # from 0, by which --from and --target can name it
    name: str
    base: int | str  # "scratch" is a reference like any other
    platform: str  # "": the build's target platform
    head: From
    body: tuple[Instruction, ...]
    sources: Mapping[str, int | str]  # the words of --from and mount from= -> what they mean

    @property
    def needs(self) -> frozenset[int]:
        """The stages that must be complete before this one is."""
        found = {s for s in (self.base, *self.sources.values()) if isinstance(s, int)}
        return frozenset(found)


class BuildPlan(NamedTuple):
    stages: tuple[Stage, ...]  # every stage after those it needs
    target: int  # number of the stage that becomes the image
    scope: Scope  # what each stage starts from: no ENV yet, no ARG declared
    warnings: tuple[str, ...] = ()

    def images(self) -> list[str]:
        """The references of images that the build needs, each once, "scratch" not among them."""
        wanted = [
            s for stage in self.stages for s in (stage.base, *stage.sources.values()) if isinstance(s, str)
        ]
        return [image for image in dict.fromkeys(wanted) if image != "scratch"]


def plan(
    dockerfile: Dockerfile,
    *,
    target: str = "",
    build_args: Mapping[str, str] | None = None,
    platform: str = "linux/amd64",
    build_platform: str = "linux/amd64",
) -> BuildPlan:
    """Resolve stages and sources; DockerfileError where a FROM makes no sense, NotFound for the target."""
    given = dict(build_args or {})
    scope = _global_scope(dockerfile, given, platform_args(platform, build_platform, target))
    stages = _stages(dockerfile, scope)
    wanted = _target(stages, target)
    needed = _closure(stages, wanted)
    return BuildPlan(tuple(stages[n] for n in sorted(needed)), wanted, scope, _unused(dockerfile, given))


def _global_scope(dockerfile: Dockerfile, given: Mapping[str, str], platforms: Mapping[str, str]) -> Scope:
    scope = Scope(build_args=given, args=dict(platforms))
    for item in dockerfile.instructions:
        if not isinstance(item, Arg):
            break
        for name, default in item.names:
            value = None if default is None else _expanded(dockerfile, item, default, scope)
            scope = scope.declare(name, value)
    return Scope(build_args=given, global_args=scope.values())


def _stages(dockerfile: Dockerfile, scope: Scope) -> list[Stage]:
    heads = [n for n, item in enumerate(dockerfile.instructions) if isinstance(item, From)]
    stages: list[Stage] = []
    names: dict[str, int] = {}
    for start, end in zip(heads, [*heads[1:], len(dockerfile.instructions)], strict=True):
        head = dockerfile.instructions[start]
        assert isinstance(head, From)
        stage = _stage(dockerfile, len(stages), head, dockerfile.instructions[start + 1 : end], names, scope)
        if head.name in names:
            raise dockerfile.error(head.at, f"duplicate name {head.name!r} of a build stage")
        stages.append(stage)
        if head.name:
            names[head.name] = stage.number
    return stages


def _stage(
    dockerfile: Dockerfile,
    number: int,
    head: From,
    body: tuple[Instruction, ...],
    names: Mapping[str, int],
    scope: Scope,
) -> Stage:
    seen = scope._replace(args=scope.global_args)
    image = _expanded(dockerfile, head, head.image, seen)
    if not image:
        raise dockerfile.error(head.at, f"the base name ({head.image}) is blank: give the argument a value")
    platform = _expanded(dockerfile, head, head.platform, seen)
    sources = {
        word: _source(dockerfile, item, word, number, names, head.name)
        for item in body
        for word in source_words(item)
    }
    return Stage(number, head.name, names.get(image.lower(), image), platform, head, body, sources)


def source_words(item: Instruction) -> list[str]:
    if isinstance(item, Transfer):
        return [item.stage] if item.stage else []
    if isinstance(item, Run):
        return [word for text in item.mounts if (word := runmount.stage_of(text))]
    return []


def _source(
    dockerfile: Dockerfile, item: Instruction, word: str, number: int, names: Mapping[str, int], own: str
) -> int | str:
    if own and word.lower() == own:
        raise dockerfile.error(item.at, f"circular dependency detected on stage: {word}", word)
    if word.isdecimal():
        if int(word) >= number:
            raise dockerfile.error(
                item.at, f"invalid stage index {word}: only stages before this one can be used"
            )
        return int(word)
    return names.get(word.lower(), word)


def _target(stages: list[Stage], target: str) -> int:
    if not target:
        return len(stages) - 1
    for stage in stages:
        if stage.name == target.lower():
            return stage.number
    if target.isdecimal() and int(target) < len(stages):
        return int(target)
    known = ", ".join(s.name for s in stages if s.name) or "none has a name"
    raise NotFound(f"target stage {target!r} could not be found", hint=f"stages: {known}")


def _closure(stages: list[Stage], wanted: int) -> set[int]:
    found: set[int] = set()
    waiting = [wanted]
    while waiting:
        index = waiting.pop()
        if index not in found:
            found.add(index)
            waiting.extend(stages[index].needs)
    return found


def _unused(dockerfile: Dockerfile, given: Mapping[str, str]) -> tuple[str, ...]:
    declared = {name for item in dockerfile.instructions if isinstance(item, Arg) for name, _ in item.names}
    known = declared | {*PREDEFINED, "SOURCE_DATE_EPOCH"} | set(platform_args("", ""))
    unused = [name for name in given if name not in known]
    return (f"[Warning] One or more build-args {unused} were not consumed",) if unused else ()


def _expanded(dockerfile: Dockerfile, item: Instruction, text: str, scope: Scope) -> str:
    try:
        return expand(text, scope.values(), dockerfile.source.escape)
    except ExpansionError as error:
        raise dockerfile.error(item.at, error.text, text, error.at) from error
