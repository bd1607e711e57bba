"""Another process in a running container: what `exec` carries out."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence

from imagetool.containers import executors, rootless
from imagetool.containers.folder import Container
from imagetool.containers.prepare import user_of
from imagetool.containers.relay import Relay
from imagetool.errors import Conflict
from imagetool.runtime import base, capabilities, linux, signals, terminal
from imagetool.runtime.base import Stdio
from imagetool.store.store import Store
from unionfs.annotations import Any

Process = dict[str, Any]


def process(
    container: Container,
    command: Sequence[str],
    *,
    env: Sequence[str] = (),
    user: str = "",
    workdir: str = "",
    tty: bool = False,
    privileged: bool = False,
) -> Process:
    """The runtime-spec `process`: the container's own, changed. Conflict unless it runs; UsageError."""
    if not container.state.running:
        raise Conflict(f"container {container.id} is not running", hint=f"start it: start {container.name}")
    rootless.join(container.state.pid)
    if container.state.paused:
        raise Conflict(f"Container {container.id} is paused, unpause the container before exec")
    with open(f"{container.directory}/config.json", "rb") as file:
        found: Process = json.loads(file.read())["process"]
    rows = dict(row.partition("=")[::2] for row in (*found["env"], *env))
    found |= {"args": list(command), "terminal": tty, "cwd": workdir or found["cwd"]}
    if tty:
        rows.setdefault("TERM", "xterm")
    if user:
        _become(found, container, user, rows, env)
    if privileged:
        everything = capabilities.granted((), (), privileged=True, available=linux.bounding_set())
        found["capabilities"] |= dict.fromkeys(("bounding", "effective", "permitted"), everything)
    found["env"] = [f"{name}={value}" for name, value in rows.items()]
    return found


def start(store: Store, container: Container, asked: Mapping[str, Any], stdio: Stdio) -> base.Container:
    """The process, a child of the caller, which runs already. SandboxError."""
    executor = executors.choose(store, container.record.runtime)
    made = executor.join(container.directory, container.id, container.state.pid, asked, stdio)
    made.start()
    return made


def _become(
    found: Process, container: Container, user: str, env: dict[str, str], given: Sequence[str]
) -> None:
    """HOME is the user's, unless somebody has chosen one (`given`: the variables of this command)."""
    chosen = user_of(user, f"/proc/{container.state.pid}/root")
    found["user"] |= {"uid": chosen.uid, "gid": chosen.gid, "additionalGids": list(chosen.groups)}
    options, image = container.record.options, container.record.defaults
    if not any(row.startswith("HOME=") for row in (*image.env, *options.env, *given)):
        env["HOME"] = chosen.home
    granted = found["capabilities"]["bounding"] if chosen.uid == 0 else []
    found["capabilities"] |= {"effective": granted, "permitted": granted}


def in_front(
    store: Store, container: Container, asked: Mapping[str, Any], *, stdin: bool, keys: str = ""
) -> int:
    """On the caller's terminal, or his streams by way of pipes; the exit code, 0 when he has left it. SandboxError."""
    if asked["terminal"]:
        return _on_terminal(store, container, asked, stdin=stdin, keys=keys)
    with Relay(stdin=stdin) as relay:
        made = start(store, container, asked, relay.inner)
        relay.hand_over()
        with signals.passed_on(made):
            relay.run(made.pid)
            return made.wait()


def _on_terminal(
    store: Store, container: Container, asked: Mapping[str, Any], *, stdin: bool, keys: str
) -> int:
    made = start(store, container, asked, Stdio())
    assert made.console is not None
    with os.fdopen(made.console, "rb", buffering=0):
        keyboard = 0 if stdin else os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        if terminal.interact(made.console, keyboard, 1, keys).detached:
            terminal.keep_open(made.console)
            return 0
    made.console = None
    with signals.passed_on(made):
        return made.wait()


def detached(store: Store, container: Container, asked: Mapping[str, Any]) -> int:
    """Without streams, and without anybody to wait for it. SandboxError."""
    start(store, container, asked, Stdio())
    return 0
