"""RUN: from the instruction to facts for the cache, and to a command on the step's root."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from imagetool.build import copying, owners, runmount, settings
from imagetool.build.command import Command
from imagetool.build.display import Channel
from imagetool.build.errors import CommandFailed
from imagetool.build.filesteps import FileStep, Made
from imagetool.build.instructions import Run
from imagetool.build.job import Job
from imagetool.build.plan import Stage
from imagetool.build.runmount import RunMount
from imagetool.build.scope import PREDEFINED
from imagetool.build.settings import Expand
from imagetool.build.state import State, ran
from imagetool.errors import UsageError
from imagetool.spec.fields import Json
from unionfs.annotations import TYPE_CHECKING

if TYPE_CHECKING:
    from imagetool.build.runmounts import Prepared
    from imagetool.build.runner import Runner

_SCRIPTS = "/dev/pipes"
"""Where the script of a here-document with its own interpreter is, as BuildKit has it."""


class RunSteps:
    """The RUN instructions of one stage."""

    def __init__(self, job: Job, stage: Stage, channel: Channel) -> None:
        self.job, self.stage, self.channel = job, stage, channel
        self._runner: Runner | None = None
        self._expected = False

    def expect(self) -> None:
        """Something is made in this stage: what a RUN will need then can begin to start."""
        wanted = any(isinstance(item, Run) and item.network == "default" for item in self.stage.body)
        if wanted and not self._expected and self.job.options.network == "default":
            self.runner().prepare_network()
        self._expected = True

    def runner(self) -> Runner:
        """Made for the first RUN that is not in the cache."""
        with self.job.lock:
            if self._runner is None:
                from imagetool.build.runner import Runner

                self._runner = Runner(self.job.store, self.job.workspace.place)
                if self.job.given_up.is_set():
                    self._runner.kill()
            return self._runner

    def step(self, state: State, item: Run, full: Expand) -> FileStep:
        """UsageError for mounts that make no sense, and for what is not allowed."""
        mounts = [runmount.parse(full(text)) for text in item.mounts]
        network = item.network if item.network != "default" else self.job.options.network
        self._require("network.host", item.network == "host" and self.job.options.network != "host")
        self._require("security.insecure", item.security == "insecure")
        argv, script = words(item, state.run.shell)
        counted, others = state.scope.run_environment()
        command = Command(
            argv, {**counted, **others}, state.run.working_dir or "/", state.run.user, network,
            item.security == "insecure",
        )  # fmt: skip
        return RunStep(self, state, command, mounts, script, frozenset(others))

    def kill(self) -> None:
        with self.job.lock:
            if self._runner is not None:
                self._runner.kill()

    def close(self) -> None:
        if self._runner is not None:
            self._runner.close()

    def _require(self, right: str, asked: bool) -> None:
        if asked and right not in self.job.options.allowed:
            kind, _, value = right.partition(".")
            raise UsageError(f"RUN --{kind}={value} is not allowed", hint=f"build with --allow {right}")


class RunStep(FileStep):
    def __init__(
        self, steps: RunSteps, state: State, command: Command, mounts: Sequence[RunMount], script: str,
        uncounted: frozenset[str],
    ) -> None:  # fmt: skip
        super().__init__()
        self._steps, self._job, self._state = steps, steps.job, state
        self._command, self._mounts, self._script = command, list(mounts), script
        self._uncounted = uncounted
        self._copies: dict[str, str] = {}

    def facts(self) -> Mapping[str, Json]:
        command = self._command
        return {
            "run": list(command.argv), "script": self._script, "workdir": command.workdir, "user": command.user,
            "env": {k: v for k, v in command.env.items() if k not in self._uncounted},
            "network": command.network, "insecure": command.insecure,
            "mounts": [[*one, self._content(one)] for one in self._mounts],
        }  # fmt: skip

    def done(self, content: str) -> str:
        arguments = {k: v for k, v in self._state.scope.args.items() if v is not None and k not in PREDEFINED}
        return ran(self._command.argv, arguments)

    def make(self) -> Made:
        from imagetool.build import stubs as leftovers

        steps, job, state = self._steps, self._job, self._state
        runner, channel = steps.runner(), steps.channel
        with ExitStack() as undo:
            prepared = job.mounts.prepare(
                self._mounts, self._command.workdir, self._root_of, self._fill, undo
            )
            places = self._places(prepared)
            stubs = [self._stubs(places)]
            with job.workspace.changing(state, stubs) as top:
                command = self._with_mounts(prepared)
                name = runner.new_name()
                channel.note(f"Running in {name}")
                hidden = leftovers.missing(top.root, (path for path, _ in places))
                code = runner.run(top.root, command, channel.sink())
                channel.end_output()
                if code:
                    if owners.are_noted():
                        channel.line(owners.ALONE)
                    self._explore(runner, top.root, command)
                    raise CommandFailed(command.argv, code)
                leftovers.remove(top.root, hidden)
            channel.line(f"Removing intermediate container {name}")
            return Made(job.packed(state, top.upper), top.upper if top.stacks else None)

    def _explore(self, runner: Runner, root: str, command: Command) -> None:
        if self._job.options.debug_shell:
            self._steps.channel.line(
                "The command failed. This shell is in its container; exit ends the build."
            )
            runner.shell(root, command)

    def _with_mounts(self, prepared: Prepared) -> Command:
        mounts = prepared.mounts
        if self._script:
            mounts = (*mounts, self._job.mounts.script(self._script, self._command.argv[0]))
        return self._command._replace(mounts=mounts, env={**self._command.env, **prepared.env})

    @staticmethod
    def _places(prepared: Prepared) -> list[tuple[str, bool]]:
        """Where something will be mounted, and whether that is a directory."""
        from imagetool.containers.rootfs import STUBS

        return [*STUBS, *prepared.stubs]

    def _stubs(self, places: list[tuple[str, bool]]) -> str:
        from imagetool.containers.rootfs import make_stubs

        path = self._job.workspace.place()
        make_stubs(path, places)
        return path

    def _content(self, one: RunMount) -> str:
        """What a RUN can see of a bind's source; caches, secrets and agents do not count."""
        if one.kind != "bind":
            return ""
        if one.stage:
            return self._job.source(self._meant(one)).chain
        with self._job.tree() as tree:
            return copying.resolve(tree, [one.source or "."]).digest()

    def _meant(self, one: RunMount) -> int | str:
        return self._steps.stage.sources.get(one.stage, one.stage)

    def _root_of(self, one: RunMount) -> str:
        """The directory that a source is in. Of a context, what is ignored is not to be seen."""
        if one.stage:
            return self._job.workspace.view(self._job.source(self._meant(one)))
        context = self._job.context
        if not context.ignore.rules:
            return str(context.root)
        if one.source not in self._copies:
            copy = self._job.scratch.directory()
            where = posixpath.normpath(one.source.strip("/") or ".")
            with self._job.tree() as tree:
                found = copying.resolve(tree, [where], parents=True)
                copying.apply(found, copy, "/", copying.CopyOptions())
            self._copies[one.source] = copy
        return self._copies[one.source]

    def _fill(self, one: RunMount, directory: str) -> None:
        """The first content of a cache."""
        if one.stage:
            source = self._job.source(self._meant(one))
            root = self._job.workspace.view(source)
            with self._job.tree_of(source, root) as tree:
                found = copying.resolve(tree, [one.source or "/"])
                copying.apply(found, directory, "/", copying.CopyOptions(giver=owners.HERE))


def words(item: Run, shell: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """PURE: what a RUN executes, and the text of a script that it is, if it is one with an interpreter of its own."""
    command, documents = item.command, item.heredocs
    if not command.shell or not documents:
        return settings.command_words(command, shell), ""
    text = command.words[0]
    if len(documents) > 1 or text.split() != [text.strip()] or not text.lstrip("0123456789").startswith("<<"):
        full = text + "".join(f"\n{one.content}{one.name}" for one in documents)
        return settings.command_words(command._replace(words=(full,)), shell), ""
    script = documents[0].content
    if script.startswith("#!"):
        return (f"{_SCRIPTS}/{documents[0].name}",), script
    return settings.command_words(command._replace(words=(script,)), shell), ""
