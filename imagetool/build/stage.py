"""One stage of a build: its instructions, one after the other, each found in the cache or carried out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from imagetool.build import cachekey, settings
from imagetool.build import instructions as asked
from imagetool.build.cache import Result
from imagetool.build.display import Channel
from imagetool.build.dockerfile import parse_trigger
from imagetool.build.errors import DockerfileError, StepError
from imagetool.build.expand import ExpansionError, expand, expand_words
from imagetool.build.filesteps import FileStep, Made, transfer, workdir
from imagetool.build.instructions import Instruction
from imagetool.build.job import Job
from imagetool.build.plan import Stage
from imagetool.build.runstep import RunSteps
from imagetool.build.state import State, from_image, from_scratch, from_stage, grown, nop, noted
from imagetool.digest import Digest
from imagetool.spec import Platform


class StageBuilder:
    """`first` is the number of the stage's FROM among all steps, of which there are `total`."""

    def __init__(self, job: Job, stage: Stage, channel: Channel, first: int, total: int) -> None:
        self._job, self._stage, self._channel = job, stage, channel
        self._number, self._total = first, total
        self._runs = RunSteps(job, stage, channel)

    def build(self) -> State:
        """The state at the end of the stage. DockerfileError, StepError; other errors are not a step's fault."""
        try:
            state = self._from()
            for item in (*self._stage.body, *self._labels()):
                self._job.check()
                self._announce(item.at.text)
                state = self._step(state, item)
                self._channel.note(state.image_id.partition(":")[2][:12])
            return state
        finally:
            self._runs.close()
            self._channel.end()

    def end(self) -> None:
        """Ends what runs. From any thread."""
        self._runs.kill()

    # --- inside

    def _announce(self, text: str) -> None:
        self._channel.step(self._number, self._total, text)
        self._number += 1

    def _from(self) -> State:
        """The start of the stage, with the triggers that its base has for it."""
        head, scope = self._stage.head, self._job.plan.scope
        self._announce(head.at.text)
        platform = Platform.parse(self._stage.platform) if self._stage.platform else self._job.platform
        base = self._stage.base
        with self._located(head):
            if isinstance(base, int):
                before = self._job.states[base]
                triggers, state = before.run.on_build, from_stage(before)
                shown = before.image_id
            elif base == "scratch":
                triggers, state, shown = (), from_scratch(platform, scope), Digest("")
            else:
                image = self._job.image(base, platform)
                triggers, state, shown = image.config.run.on_build, from_image(image, scope), image.id
        self._channel.note(shown.partition(":")[2][:12])
        return self._triggered(state, triggers)

    def _triggered(self, state: State, triggers: tuple[str, ...]) -> State:
        if triggers:
            plural = "trigger" if len(triggers) == 1 else "triggers"
            self._channel.line(f"# Executing {len(triggers)} build {plural}")
        for text in triggers:
            head = self._stage.head
            try:
                item = parse_trigger(text)
            except DockerfileError as error:
                raise self._job.dockerfile.error(head.at, f"ONBUILD {text}: {error.text}") from error
            state = self._step(state, item._replace(at=head.at._replace(text=text)))
        return state

    def _labels(self) -> tuple[Instruction, ...]:
        """`--label` is one more instruction at the end of the stage that is the image."""
        labels = self._job.options.labels
        if not labels or self._stage.number != self._job.plan.target:
            return ()
        at = self._stage.head.at._replace(text="LABEL " + " ".join(f"{k}={v}" for k, v in labels.items()))
        return (asked.Label(at, tuple((_quoted(k), _quoted(v)) for k, v in labels.items())),)

    def _step(self, state: State, item: Instruction) -> State:
        with self._located(item):
            match item:
                case asked.Arg():
                    return self._argument(state, item)
                case asked.Run():
                    return self._on_files(state, self._runs.step(state, item, self._words(state, item)))
                case asked.Transfer():
                    return self._on_files(
                        state, transfer(self._job, self._stage, state, item, self._words(state, item))
                    )
                case asked.Workdir():
                    return self._workdir(state, item)
                case asked.Maintainer(text=text):
                    named = state._replace(
                        draft=state.draft._replace(config=state.draft.config._replace(author=text))
                    )
                    return self._noted(named, f"MAINTAINER {text}")
            return self._setting(state, item)

    def _setting(self, state: State, item: Instruction) -> State:
        full = self._words(state, item)
        values = state.scope.values()

        def split(text: str) -> list[str]:
            return expand_words(text, values, self._job.dockerfile.source.escape)

        found = settings.changed(state.run, item, full, split)
        assert found is not None
        run, done = found
        if isinstance(item, asked.Entrypoint) and not state.own_cmd:
            run = run._replace(cmd=None)
        changed = state.with_run(run)
        return self._noted(changed._replace(own_cmd=state.own_cmd or isinstance(item, asked.Cmd)), done)

    def _argument(self, state: State, item: asked.Arg) -> State:
        scope, shown = state.scope, []
        for name, default in item.names:
            full = self._words(state._replace(scope=scope), item)
            scope = scope.declare(name, None if default is None else full(default))
            shown.append(name if default is None else f"{name}={default}")
        return self._noted(state._replace(scope=scope), f"ARG {' '.join(shown)}")

    def _workdir(self, state: State, item: asked.Workdir) -> State:
        path = settings.directory(state.run.working_dir, self._words(state, item)(item.path))
        moved = state.with_run(state.run._replace(working_dir=path))
        if path == "/":
            return self._noted(moved, "WORKDIR /", space="")
        return self._on_files(moved, workdir(self._job, moved, path))

    def _noted(self, state: State, what: str, *, space: str = " ") -> State:
        """After an instruction that only changed settings."""
        done = nop(state.run.shell, space + what)
        key = cachekey.step(state.image_id, done, self._job.options.epoch)
        made = self._job.cache.get(key)
        if made is None:
            made = Result(self._job.now())
            self._job.cache.put(key, made)
        else:
            self._channel.note("Using cache")
        return noted(state, done, made)

    def _on_files(self, state: State, step: FileStep) -> State:
        with step:
            made = self._found_or_made(state, step)
            done = step.done(made.result.content)
        if made.result.layer is None:
            return noted(state, done, made.result)
        return grown(state, done, made.result, made.upper)

    def _found_or_made(self, state: State, step: FileStep) -> Made:
        """By what is known at once, then by content; else it is made, by one build at a time."""
        cache = self._job.cache
        quick = self._key(state, step.quick) if step.quick else ""
        if quick and (found := cache.get(quick)):
            return self._cached(found)
        key = self._key(state, step.facts())
        found = cache.get(key)
        if found:
            made = self._cached(found)
        else:
            with cache.claimed(key):
                made = self._claimed(state, key, step)
        if quick:
            cache.put(quick, made.result)
        return made

    def _claimed(self, state: State, key: str, step: FileStep) -> Made:
        found = self._job.cache.get(key)
        if found is None and (found := self._job.elsewhere(state, step.done(step.content()))):
            found = found._replace(content=step.content())
        if found:
            made = self._cached(found)
        else:
            self._runs.expect()
            made = step.make()
        self._job.cache.put(key, made.result)
        return made

    def _cached(self, found: Result) -> Made:
        self._channel.note("Using cache")
        return Made(found)

    def _key(self, state: State, facts: Mapping[str, object]) -> str:
        platform = str(state.draft.config.platform)
        return cachekey.layer(state.chain, platform, self._job.options.epoch, facts)

    def _words(self, state: State, item: Instruction) -> settings.Expand:
        values = state.scope.values()

        def full(text: str) -> str:
            try:
                return expand(text, values, self._job.dockerfile.source.escape)
            except ExpansionError as error:
                raise self._job.dockerfile.error(item.at, error.text, text, error.at) from error

        return full

    @contextmanager
    def _located(self, item: Instruction) -> Iterator[None]:
        """What goes wrong within gets the place of the instruction."""
        try:
            with self._job.dockerfile.located(item.at):
                yield
        except StepError:
            self._channel.failed()
            raise


def _quoted(text: str) -> str:
    """As a word of a Dockerfile that means just this."""
    return "'" + text.replace("'", "'\"'\"'") + "'"
