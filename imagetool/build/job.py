"""What all stages of one build share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property

from imagetool import mediatypes, mutate
from imagetool.build.cache import Cache, Result
from imagetool.build.contexts import Context
from imagetool.build.display import Display
from imagetool.build.dockerfile import Dockerfile
from imagetool.build.instructions import Run
from imagetool.build.plan import BuildPlan
from imagetool.build.scope import Scope
from imagetool.build.scratch import Scratch
from imagetool.build.secrets import Secret
from imagetool.build.state import State, from_image, replaced
from imagetool.build.trees import Tree
from imagetool.digest import Digest
from imagetool.errors import ImageToolError
from imagetool.spec import Descriptor, Platform
from imagetool.store import disk
from imagetool.store.lease import Lease
from imagetool.store.read import Image
from imagetool.store.store import Store
from imagetool.units import time_text
from unionfs.annotations import TYPE_CHECKING
from unionfs.namedtuple import NamedTuple

if TYPE_CHECKING:
    from imagetool.build.runmounts import Mounts
    from imagetool.build.workspace import Workspace
    from unionfs.layers.base import Layer


class Options(NamedTuple):
    """What the caller of a build asks for. `top` is where the changes of steps go: auto, fuse or overlay."""

    names: tuple[str, ...] = ()  # full ones
    build_args: Mapping[str, str] = {}
    target: str = ""
    platform: Platform | None = None
    labels: Mapping[str, str] = {}
    secrets: Mapping[str, Secret] = {}
    ssh: Mapping[str, str] = {}
    network: str = "default"
    allowed: frozenset[str] = frozenset()  # of network.host, security.insecure
    cached: bool = True
    cache_from: tuple[str, ...] = ()
    squash: bool = False
    debug_shell: bool = False
    top: str = "auto"
    epoch: int | None = None


Find = Callable[[str, Platform], Image]
"""The image that a reference means, for a platform; pulled if it has to be."""


class Job:
    """One build under way. What changes is under `lock`."""

    def __init__(
        self, store: Store, lease: Lease, scratch: Scratch, dockerfile: Dockerfile, plan: BuildPlan,
        context: Context, tree: Tree, options: Options, find: Find, display: Display,
    ) -> None:  # fmt: skip
        self.store, self.lease, self.scratch = store, lease, scratch
        self.dockerfile, self.plan, self.options, self.display = dockerfile, plan, options, display
        self.platform = options.platform or Platform.host()
        self.cache = Cache(store, lease, reading=options.cached)
        self.context = context
        self.lock = threading.Lock()
        self.states: dict[int, State] = {}  # of the stages that are complete
        self.given_up = threading.Event()
        self._tree, self._tree_lock = tree, threading.Lock()
        self._find = find
        self._images: dict[tuple[str, str], Image] = {}
        self._image_lock = threading.Lock()

    @cached_property
    def workspace(self) -> Workspace:
        """For who mounts something; to be made before there are threads."""
        from imagetool.build.workspace import Workspace

        return Workspace(self.store, self.lease, self.scratch, self.options.top, self._import)

    @cached_property
    def mounts(self) -> Mounts:
        """Those of RUN steps."""
        from imagetool.build.runmounts import Mounts

        return Mounts(self.store, self.workspace, self.scratch, self.options.secrets, self.options.ssh)

    @contextmanager
    def tree(self) -> Iterator[Tree]:
        """The context's files, for one stage at a time."""
        with self._tree_lock:
            yield self._tree

    def image(self, name: str, platform: Platform | None = None) -> Image:
        wanted = platform or self.platform
        with self._image_lock:
            key = name, str(wanted)
            if key not in self._images:
                image = self._find(name, wanted)
                self.lease.pin(image.target.digest)
                self._images[key] = image
                self._compare(name, wanted, image)
            return self._images[key]

    def tree_of(self, state: State, root: str) -> Tree:
        """The files of a state, which are in the directory `root`, with their owners."""
        from imagetool.build import owners

        if not owners.are_noted():
            return Tree(root, owners=True)
        return Tree(root, owners=owners.Lookup(self._lowers(state)))

    def _compare(self, name: str, wanted: Platform, image: Image) -> None:
        """A warning where the store only has the image for another platform than was asked for."""
        there = image.config.platform
        if (there.os, there.architecture) != (wanted.os, wanted.architecture):
            self.display.line(f"[Warning] The image {name} is for {there}, not for {wanted}")

    def source(self, meant: int | str) -> State:
        """What a `--from` or `from=` means: a stage that is complete, or an image."""
        return self.states[meant] if isinstance(meant, int) else from_image(self.image(meant), Scope())

    def elsewhere(self, state: State, done: str) -> Result | None:
        """The step in one of the images of --cache-from: upon the same history and layers, the same line."""
        for name in self.options.cache_from:
            image = self.image(name)
            found = next_step(image, state, done)
            if found is not None:
                if found.layer is not None and found.diff_id is not None:
                    self.lease.pin(found.layer.digest, found.diff_id)
                    self.store.ensure_layers(image)
                return found
        return None

    def now(self) -> str:
        epoch = self.options.epoch
        return time_text(time.time() if epoch is None else epoch)

    def check(self) -> None:
        """Nothing is begun any more when another stage has failed."""
        if self.given_up.is_set():
            raise ImageToolError("the build was given up")

    def packed(self, state: State, upper: str, *, noted: bool = False) -> Result:
        """The change in an upper directory, over the files of `state`, as a layer in the store; nothing is no layer.

        `noted`: something in it is not what it is on disk (see `owners`).
        """
        from imagetool.archive import pack
        from imagetool.build import owners

        options = owners.reading(self.options.epoch, noted=noted)
        with self.lease.new_layer() as ingest, disk.errors("cannot read the files of a step"):
            made = pack.pack(upper, ingest.feed, self._lowers(state), options)
            if not made.members:
                ingest.discard()
                return Result(self.now())
            blob = ingest.finish()
        layer = Descriptor(mediatypes.layer_type(blob.compression), blob.digest, blob.size)
        return Result(self.now(), layer, blob.diff_id)

    def squashed(self, state: State) -> State:
        """The state with one layer in place of all that came upon the image that its stages started from."""
        from imagetool.archive.squash import squash

        count = len(state.layers) - self._base_layers(self.plan.target)
        if count < 2:
            return state
        kept, new = state.layers[:-count], state.layers[-count:]
        with ExitStack() as undo:
            layers, below = (self._opened([diff_id for _, diff_id in part]) for part in (new, kept))
            for layer in (*layers, *below):
                undo.callback(layer.close)
            ingest = undo.enter_context(self.lease.new_layer())
            squash(layers, below, ingest.feed, self.options.epoch)
            blob = ingest.finish()
        assert blob.diff_id is not None
        made = Descriptor(mediatypes.layer_type(blob.compression), blob.digest, blob.size)
        return replaced(state, kept, (made, blob.diff_id), state.draft.config.created)

    def _base_layers(self, number: int) -> int:
        stage = next(stage for stage in self.plan.stages if stage.number == number)
        if isinstance(stage.base, int):
            return self._base_layers(stage.base)
        if stage.base == "scratch":
            return 0
        platform = Platform.parse(stage.platform) if stage.platform else None
        return len(self.image(stage.base, platform).config.diff_ids)

    def _import(self) -> None:
        """What a step needs that makes something: to be imported while there is nothing else to do."""
        from imagetool.archive import pack  # noqa: F401
        from imagetool.store import ingest  # noqa: F401

        if any(isinstance(item, Run) for stage in self.plan.stages for item in stage.body):
            from imagetool.build import runmounts, runner  # noqa: F401
            from imagetool.runtime import sandbox  # noqa: F401

    def _lowers(self, state: State) -> list[Layer]:
        """For what was moved or changed without its data. They are opened, not read."""
        return self._opened([diff_id for _, diff_id in state.layers])

    def _opened(self, diff_ids: Sequence[Digest]) -> list[Layer]:
        """Layers, top first, that the caller closes."""
        from unionfs.errors import LayerError
        from unionfs.layers.tarball import open_tar_layer

        found: list[Layer] = []
        try:
            for diff_id in reversed(diff_ids):
                found.append(open_tar_layer(self.store.layout.layer_tar(diff_id)))
        except LayerError as error:
            for layer in found:
                layer.close()
            raise ImageToolError(str(error)) from error
        return found


def next_step(image: Image, state: State, done: str) -> Result | None:
    """PURE: what the image has where its history goes on from that of `state` with the line `done`."""
    ours = mutate.complete_history(state.draft.config)
    theirs = mutate.complete_history(image.config)
    count = len(state.draft.layers)
    if len(theirs) <= len(ours) or theirs[len(ours)].created_by != done:
        return None
    lines = [step.created_by for step in ours] == [step.created_by for step in theirs[: len(ours)]]
    if not lines or state.draft.config.diff_ids != image.config.diff_ids[:count]:
        return None
    step = theirs[len(ours)]
    if step.empty_layer:
        return Result(step.created)
    layer, diff_id = list(image.layers())[count]
    return Result(step.created, layer, diff_id)
