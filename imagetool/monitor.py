"""The monitor: the small process beside each running container. It starts it, keeps its log, and sees its end.

One thread and one poll loop; nothing in the loop waits for anybody. It holds the container's lock, and when it
goes nothing of the container is left but its files. If it is killed, the container's process may live on: the
state says so, and whoever stops or removes the container clears up.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress

from imagetool.containers import executors, folder, frames, prepare, rootfs, rootless
from imagetool.containers import record as records
from imagetool.containers import state as states
from imagetool.containers.frames import Frame
from imagetool.containers.log import Log
from imagetool.containers.network import Network, network_of
from imagetool.containers.record import Record, Restart
from imagetool.containers.state import State
from imagetool.containers.streams import LAG, Client, Input, Output
from imagetool.errors import Conflict, ImageToolError, NotFound
from imagetool.runtime import leases, terminal
from imagetool.runtime.base import Container, Stdio
from imagetool.runtime.cgroups import Cgroup
from imagetool.runtime.network import Netlink
from imagetool.store import disk
from imagetool.store.lock import take_lock
from imagetool.store.store import Store

_COLLECT = 700  # objects between two looks for garbage: a command has more, and is over soon
_NETLINK_STAYS = 2.0  # seconds: a container that ends sooner is disconnected by the same helper
_FIRST_DELAY, _MOST_DELAY = 0.1, 60.0  # seconds between restarts, doubled each time
_LONG = 10.0  # seconds of running after which the delay is the first one again


class Monitor:
    def __init__(self, store: Store, record: Record, first: Client, helper: Netlink | None) -> None:
        self._store, self._record, self._helper = store, record, helper
        self._directory = folder.directory_of(store, record.id)
        self._executor = executors.choose(store, record.runtime)
        self._clients = [first]
        self._starter: Client | None = first  # who wants to know whether it starts
        self._process: Container | None = None
        self._input = Input(-1, terminal=False)
        self._stopping = False
        self._state = State()

    def run(self) -> None:
        """From the first start to the last end, and the farewell to all clients."""
        try:
            lock = take_lock(f"{self._directory}/running")
        except FileNotFoundError:
            raise NotFound(
                f"No such container: {self._record.name}", hint="it has just been removed"
            ) from None
        if lock is None:
            raise Conflict(f"container {self._record.id[:12]} is running already")
        listener, upper = frames.listen(self._directory), -1
        try:
            code = self._live(listener)
        finally:
            self._let_in(listener)
            listener.close()
            disk.unlink(f"{self._directory}/{frames.SOCKET}")
            if self._record.remove:
                upper = rootfs.upper_of(self._directory)
                folder.delete(self._store, self._record, volumes=True)
            os.close(lock)
        for client in self._clients:
            client.send(Frame(frames.EXIT, str(code).encode()))
        self._linger()
        rootfs.see_off(upper)

    def _let_in(self, listener: socket.socket) -> None:
        """Those who have called, and whom nobody has heard yet, hear of the end too."""
        listener.setblocking(False)
        with suppress(OSError):
            while True:
                self._clients.append(Client(listener.accept()[0]))

    def _live(self, listener: socket.socket) -> int:
        delay, restarts = _FIRST_DELAY, 0
        while True:
            began = time.monotonic()
            code = self._once(listener, restarts)
            delay = _FIRST_DELAY if time.monotonic() - began > _LONG else delay
            if self._stopping or not self._policy().wants(code, restarts):
                self._write(self._state)
                return code
            self._write(self._state._replace(status="restarting"))
            if self._pause(listener, delay):
                self._write(self._state._replace(status="exited"))
                return code
            restarts, delay = restarts + 1, min(2 * delay, _MOST_DELAY)

    def _policy(self) -> Restart:
        """As it is now: `update` may have changed it."""
        try:
            found = records.load(self._directory)
        except ImageToolError:  # damaged meanwhile
            found = None
        return (found or self._record).restart

    def _once(self, listener: socket.socket, restarts: int) -> int:
        """One start and its end; the exit code. A start that fails leaves nothing, and raises."""
        network, log = network_of(self._record, self._helper), Log(self._directory)
        self._helper = None
        try:
            output = self._start(network, log, restarts)
            self._serve(listener, output, network)
            return self._ended(output, log)
        finally:
            log.close()
            self._clean(network)

    def _start(self, network: Network, log: Log, restarts: int) -> Output:
        record, directory = self._record, self._directory
        inner, outer = _pipes(record)
        try:
            self._executor.begin(inner, record.cgroup)  # while the mount is made
            rootfs.mount(self._store, record, directory)
            notes = prepare.bundle(self._store, record, directory)
            self._process = process = self._executor.create(directory, record.id, inner)
        except BaseException:
            self._executor.give_up()
            _close(outer)
            raise
        finally:
            _close(inner)
        if process.console is not None:
            keyboard, ends = os.dup(process.console), {os.dup(process.console): frames.OUT}
        else:
            keyboard, ends = outer.stdin, {outer.stdout: frames.OUT, outer.stderr: frames.ERR}
        self._input = Input(keyboard, terminal=process.console is not None)
        output = Output(ends, log)
        try:
            network.connect(process.pid)
            prepare.write_hosts(record, directory, network.address)
            self._write(
                State(
                    "running", process.pid, leases.started(process.pid), time.time(), 0.0, 0, "",
                    network.address, tuple((p.ip, p.host, p.container, p.protocol) for p in network.ports), restarts,
                )
            )  # fmt: skip
            process.start()
        except BaseException as error:
            self._write(State("created", exit_code=getattr(error, "exit_code", 125), error=str(error)))
            self._input.close()
            output.drain([])
            process.abandon()
            raise
        self._tell([*notes, *network.notes])
        return output

    def _tell(self, notes: list[str]) -> None:
        if self._starter is not None:
            self._starter.send(Frame(frames.STARTED, json.dumps({"notes": notes}).encode()))
            self._starter = None

    def _serve(self, listener: socket.socket, output: Output, network: Network) -> None:
        """Until the container's first process has ended."""
        assert self._process is not None
        pidfd = os.pidfd_open(self._process.pid)
        resting = time.monotonic() + _NETLINK_STAYS
        try:
            while True:
                wait = max(0.0, resting - time.monotonic()) if resting else None
                ready = self._poll(listener, output, [pidfd], wait)
                if resting and time.monotonic() >= resting:
                    network.rest()
                    resting = 0.0
                if pidfd in ready:
                    return
        finally:
            os.close(pidfd)

    def _poll(
        self, listener: socket.socket, output: Output | None, others: list[int], wait: float | None
    ) -> set[int]:
        """One look at everything; gives what is ready."""
        poller = select.poll()
        for fd in (listener.fileno(), *others):
            poller.register(fd, select.POLLIN)
        if output is not None and all(len(client.unsent) < LAG for client in self._clients):
            for fd in output.ends:
                poller.register(fd, select.POLLIN)
        for client in self._clients:
            full = len(self._input.unsent) >= LAG and client.input
            poller.register(client, (0 if full else select.POLLIN) | (select.POLLOUT if client.unsent else 0))
        if self._input.unsent:
            poller.register(self._input.fd, select.POLLOUT)
        ready = {fd for fd, _ in poller.poll(None if wait is None else wait * 1000)}
        if listener.fileno() in ready:
            self._clients.append(Client(listener.accept()[0]))
        if self._input.fd in ready:
            self._input.flush()
        if output is not None:
            for fd in ready & output.ends.keys():
                output.move(fd, self._clients)
        for client in [one for one in self._clients if one.fileno() in ready]:
            self._attend(client)
        return ready

    def _attend(self, client: Client) -> None:
        client.flush()
        received = client.receive()
        for frame in received or ():
            self._obey(frame)
        if received is None:
            if client.input and self._record.once and not self._record.options.tty:  # who detaches comes back
                self._input.feed(Frame(frames.END))
            client.sock.close()
            self._clients.remove(client)

    def _obey(self, frame: Frame) -> None:
        if frame.kind in (frames.IN, frames.END):
            self._input.feed(frame)
        elif frame.kind == frames.RESIZE and self._process and self._process.console is not None:
            with suppress(OSError, ValueError):
                terminal.set_size(self._process.console, *frames.unpack_size(frame.data))
        elif frame.kind in (frames.SIGNAL, frames.STOP) and frame.data.isdigit():
            self._stopping = self._stopping or frame.kind == frames.STOP
            if self._process is not None:
                self._process.signal(int(frame.data))

    def _ended(self, output: Output, log: Log) -> int:
        assert self._process is not None
        code = self._process.wait()
        output.drain(self._clients)
        log.flush()
        self._state = self._state._replace(
            status="exited", pid=0, started="", exit_code=code, finished_at=time.time(), address="", ports=(),
            oom_killed=Cgroup(self._record.cgroup).oom_killed(),
        )  # fmt: skip
        return code

    def _clean(self, network: Network) -> None:
        """Takes away what the start has made; each part even if another fails."""
        self._input.close()
        if self._process is not None and self._process.console is not None:
            with suppress(OSError):
                os.close(self._process.console)
            self._process.console = None
        with suppress(ImageToolError, OSError):
            network.disconnect()
        if self._process is not None:
            with suppress(ImageToolError, OSError):
                self._executor.delete(self._directory, self._record.id)
        self._process = None
        with suppress(ImageToolError):
            rootfs.unmount(f"{self._directory}/rootfs")
        if not self._record.remove:  # else nobody needs what is in it: its server ends by itself
            rootfs.wait_until_free(self._directory)
        _reap()

    def _pause(self, listener: socket.socket, seconds: float) -> bool:
        """Waits before a restart; True when the container is to be stopped instead."""
        end = time.monotonic() + seconds
        while not self._stopping and (left := end - time.monotonic()) > 0:
            self._poll(listener, None, [], left)
        return self._stopping

    def _linger(self) -> None:
        """Until everybody has what was sent to him, or has gone."""
        while self._clients:
            poller = select.poll()
            for client in self._clients:
                poller.register(client, select.POLLOUT)
            poller.poll()
            for client in list(self._clients):
                client.flush()
                if not client.unsent:
                    client.sock.close()
                    self._clients.remove(client)

    def _write(self, state: State) -> None:
        self._state = state
        states.write(self._directory, state)


def watch(
    store: Store,
    record: Record,
    starter: socket.socket,
    *,
    attached: bool,
    helper: Netlink | None = None,
) -> None:
    """Runs a container to its end, for the process at the other end of `starter`, which hears of any failure."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    gc.set_threshold(_COLLECT)
    client = Client(starter, output=attached, input=attached and record.interactive)
    try:
        rootless.enter()
        Monitor(store, record, client, helper).run()
    except Exception as error:
        code = getattr(error, "exit_code", ImageToolError.exit_code)
        told = {"text": _text(error), "exit_code": code}
        starter.setblocking(True)
        with suppress(OSError):
            starter.sendall(Frame(frames.FAILED, json.dumps(told).encode()).packed())


def detach() -> None:
    """Makes a fresh fork a process of its own, with nothing of the caller's terminal."""
    os.setsid()
    os.chdir("/")
    os.umask(0o022)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(null, standard)
    os.close(null)


def main() -> None:
    """`python -m imagetool.monitor ROOT ID FD ATTACHED`: for callers that have threads, and cannot fork."""
    root, container_id, number, attached = sys.argv[1:]
    detach()
    store = Store.open(root, create=False)
    container = folder.load(store, container_id)
    if container is not None:
        starter = socket.socket(fileno=int(number))
        starter.set_inheritable(False)
        watch(store, container.record, starter, attached=attached == "1")


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    known = isinstance(error, ImageToolError) or type(error).__module__.startswith("unionfs.")
    return str(error) if known else f"internal error: {type(error).__name__}: {error}"


def _pipes(record: Record) -> tuple[Stdio, Stdio]:
    """The container's ends and ours; -1 where there is none."""
    if record.options.tty:
        return Stdio(), Stdio()
    keyboard = os.pipe() if record.interactive else (-1, -1)
    out, err = os.pipe(), os.pipe()
    return Stdio(keyboard[0], out[1], err[1]), Stdio(keyboard[1], out[0], err[0])


def _close(fds: Stdio) -> None:
    for fd in fds:
        if fd >= 0:
            os.close(fd)


def _reap() -> None:
    """The servers and helpers that have ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


if __name__ == "__main__":
    main()
