"""The build: its stages in the order that they need each other, those that do not at once, and the image at the end.

Each stage that is ready gets a thread; a stage that is alone has the main thread, which may fork: that is the fast way
to a mount. The first stage that fails ends the others. There is no image, and no name has moved, unless all is well.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from imagetool import mutate
from imagetool.build import dockerfile as language
from imagetool.build import plan as planning
from imagetool.build.contexts import Context
from imagetool.build.display import Display
from imagetool.build.instructions import Arg, From
from imagetool.build.job import Find, Job, Options
from imagetool.build.memory import Memory
from imagetool.build.plan import BuildPlan, Stage
from imagetool.build.scratch import Scratch
from imagetool.build.stage import StageBuilder
from imagetool.build.state import State
from imagetool.build.trees import Tree
from imagetool.digest import Digest
from imagetool.spec import Descriptor, Platform
from imagetool.store.store import Store
from unionfs.namedtuple import NamedTuple

Finish = Callable[[Descriptor], None]


class Built(NamedTuple):
    image_id: Digest
    target: Descriptor


def build(
    store: Store,
    context: Context,
    options: Options,
    find: Find,
    display: Display,
    finish: Finish | None = None,
) -> Built:
    """Builds an image, and gives it its names; or, with `finish`, hands it over while nothing of it can be collected.

    If something has to be mounted, the process, which must have one thread, gets a mount namespace of its own.
    DockerfileError, StepError, ImageToolError.
    """
    dockerfile = language.parse(context.dockerfile, context.dockerfile_name)
    host = Platform.host()
    plan = planning.plan(
        dockerfile, target=options.target, build_args=options.build_args,
        platform=str(options.platform or host), build_platform=str(host),
    )  # fmt: skip
    with (
        store.lease() as lease,
        Scratch(lease) as scratch,
        _memory(store, context) as memory,
        Tree(
            context.root, ignore=context.ignore, memory=memory, shown=str(context.root) * context.lasting
        ) as tree,
    ):
        job = Job(store, lease, scratch, dockerfile, plan, context, tree, options, find, display)
        with display.busy("Reading the build context"):
            size = tree.transfer_size()
        display.context(size)
        for warning in plan.warnings:
            display.line(warning)
        _find_images(job)
        state = _solve(job)
        if options.squash:
            with display.busy("Squashing layers"):
                state = job.squashed(state)
        rendered = mutate.render(state.draft)
        lease.put_all(rendered.config, rendered.manifest)
        if finish is None:
            store.publish(options.names, rendered.target)
        else:
            with display.busy("Writing the output"):
                finish(rendered.target)
    return Built(rendered.image_id, rendered.target)


def _find_images(job: Job) -> None:
    """All that the stages need, before the first begins: pulling takes a loop, and so do mounts if one was there."""
    for stage in job.plan.stages:
        platform = Platform.parse(stage.platform) if stage.platform else None
        if isinstance(stage.base, str) and stage.base != "scratch":
            with job.dockerfile.located(stage.head.at):
                job.image(stage.base, platform)
        for item in stage.body:
            for meant in (stage.sources[word] for word in planning.source_words(item)):
                if isinstance(meant, str):
                    with job.dockerfile.located(item.at):
                        job.image(meant)


def _solve(job: Job) -> State:
    waiting = {stage.number: builder for stage, builder in _builders(job)}
    stages = {stage.number: stage for stage in job.plan.stages}
    ended: queue.SimpleQueue[tuple[int, State | BaseException]] = queue.SimpleQueue()
    running: dict[int, tuple[StageBuilder, threading.Thread]] = {}
    try:
        while waiting or running:
            ready = [number for number in waiting if stages[number].needs <= job.states.keys()]
            if len(ready) == 1 and not running:
                job.states[ready[0]] = waiting.pop(ready[0]).build()
                continue
            _ = job.mounts  # and the workspace: made before there are threads
            for number in ready:
                builder = waiting.pop(number)
                thread = threading.Thread(target=_build, args=(number, builder, ended))
                running[number] = (builder, thread)
                thread.start()
            number, result = ended.get()
            running.pop(number)[1].join()
            if isinstance(result, BaseException):
                raise result
            job.states[number] = result
    except BaseException:
        job.given_up.set()
        for builder, thread in running.values():
            builder.end()
            thread.join()
        raise
    return job.states[job.plan.target]


def _build(
    number: int, builder: StageBuilder, ended: queue.SimpleQueue[tuple[int, State | BaseException]]
) -> None:
    try:
        ended.put((number, builder.build()))
    except BaseException as error:
        ended.put((number, error))


def _builders(job: Job) -> Iterator[tuple[Stage, StageBuilder]]:
    """Every stage with the number of its first step among all."""
    plan = job.plan
    first = _leading_arguments(job) + 1
    total = first - 1 + sum(_steps(plan, stage) for stage in plan.stages) + bool(job.options.labels)
    for number in range(1, first):
        job.display.line(f"Step {number}/{total} : {job.dockerfile.instructions[number - 1].at.text}")
    channels = [job.display.channel(stage.number) for stage in plan.stages]
    for stage, channel in zip(plan.stages, channels, strict=True):
        yield stage, StageBuilder(job, stage, channel, first, total)
        first += _steps(plan, stage)


def _steps(plan: BuildPlan, stage: Stage) -> int:
    return 1 + len(stage.body)


def _leading_arguments(job: Job) -> int:
    """The ARGs before the first FROM."""
    for count, item in enumerate(job.dockerfile.instructions):
        if isinstance(item, From):
            return count
        assert isinstance(item, Arg)
    return 0


@contextmanager
def _memory(store: Store, context: Context) -> Iterator[Memory]:
    if not context.lasting:
        yield Memory()
        return
    with Memory.open(f"{store.layout.build}/contexts", str(context.root)) as memory:
        yield memory
