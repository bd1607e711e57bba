"""PURE: an image as a build has it between two instructions.

Nothing is stored before the end; the ID is what the image would have if it ended here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from imagetool import mutate
from imagetool.build import cachekey
from imagetool.build.cache import Result
from imagetool.build.scope import Scope
from imagetool.build.settings import variables, with_env
from imagetool.digest import Digest
from imagetool.mutate import Draft
from imagetool.runtime.defaults import PATH
from imagetool.spec import Descriptor, History, Platform, RunConfig
from imagetool.store.read import Image
from unionfs.namedtuple import NamedTuple


class State(NamedTuple):
    """INVARIANT: `chain` is that of the draft's diff IDs; `fresh` are the upper directories of its last layers."""

    draft: Draft
    scope: Scope
    chain: str
    fresh: tuple[str, ...] = ()  # top first; made in this build, and there until its end
    own_cmd: bool = False  # this stage has a CMD: an ENTRYPOINT does not drop it

    @property
    def run(self) -> RunConfig:
        return self.draft.config.run

    @property
    def layers(self) -> tuple[tuple[Descriptor, Digest], ...]:
        """Blob and diff ID of each layer, the lowest first."""
        return tuple(zip(self.draft.layers, self.draft.config.diff_ids, strict=True))

    @property
    def image_id(self) -> Digest:
        return mutate.render(self.draft).image_id

    def with_run(self, run: RunConfig) -> State:
        """Another run configuration; the scope follows its ENV."""
        draft = mutate.with_run(self.draft, lambda _: run)
        return self._replace(draft=draft, scope=self.scope._replace(env=variables(run.env)))


def from_image(image: Image, scope: Scope) -> State:
    """The start of a stage upon an image, whose ONBUILD triggers are the caller's to carry out."""
    draft = mutate.draft(image.manifest, image.config)
    return _start(draft._replace(annotations={}, docker=False), scope, cachekey.chain(image.config.diff_ids))


def from_scratch(platform: Platform, scope: Scope) -> State:
    return _start(mutate.scratch(platform), scope, cachekey.NO_FILES)


def from_stage(before: State) -> State:
    """The start of a stage upon another one: its files, settings and arguments."""
    return _start(before.draft, before.scope, before.chain)._replace(fresh=before.fresh)


def _start(draft: Draft, scope: Scope, chain: str) -> State:
    run = draft.config.run
    env = run.env if "PATH" in variables(run.env) else with_env(run.env, [("PATH", PATH)])
    return State(draft, scope, chain).with_run(run._replace(env=env, on_build=()))


def noted(state: State, done: str, made: Result) -> State:
    """After a step that changed no file."""
    return _stamped(state, mutate.note(state.draft, History(made.created, done)), made)


def grown(state: State, done: str, made: Result, upper: str | None) -> State:
    """After a step that made a layer; `upper` is the directory that it was packed from, if that is at hand."""
    assert made.layer is not None
    assert made.diff_id is not None
    draft = mutate.append(state.draft, made.layer, made.diff_id, History(made.created, done))
    fresh = () if upper is None else (upper, *state.fresh)
    chain = cachekey.extended(state.chain, made.diff_id)
    return _stamped(state, draft, made)._replace(chain=chain, fresh=fresh)


def replaced(
    state: State, kept: Sequence[tuple[Descriptor, Digest]], made: tuple[Descriptor, Digest], now: str
) -> State:
    """With one layer for all after `kept`; the steps stay in the history, and what made the layer is the last one."""
    config = state.draft.config
    steps, layers = [], 0
    for step in mutate.complete_history(config):
        layers += not step.empty_layer
        steps.append(step._replace(empty_layer=step.empty_layer or layers > len(kept)))
    below = config._replace(diff_ids=tuple(diff_id for _, diff_id in kept), history=tuple(steps))
    draft = Draft(below, tuple(layer for layer, _ in kept))
    draft = mutate.append(
        draft, *made, History(now, comment=f"squashed {len(config.diff_ids) - len(kept)} layers")
    )
    chain = cachekey.chain(draft.config.diff_ids)
    return state._replace(draft=mutate.stamped(draft, now), chain=chain, fresh=())


def _stamped(state: State, draft: Draft, made: Result) -> State:
    return state._replace(draft=mutate.stamped(draft, made.created))


def nop(shell: Sequence[str], what: str) -> str:
    """How Docker's history marks what ran nothing."""
    return f"{' '.join(shell or ('/bin/sh', '-c'))} #(nop) {what}"


def ran(argv: Sequence[str], arguments: Mapping[str, str]) -> str:
    """How Docker's history shows a RUN: with the build arguments that it saw."""
    given = [f"{key}={value}" for key, value in sorted(arguments.items())]
    return " ".join([*([f"|{len(given)}", *given] if given else []), *argv])
