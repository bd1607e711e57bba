"""The server without a kernel: requests over a socket, a real union behind it, one reply after the other."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import trio

from unionfs.copyup import HEAVY, CopyUp
from unionfs.files import Files
from unionfs.fuse import abi
from unionfs.fuse import opcodes as op
from unionfs.fuse.options import ServerOptions
from unionfs.fuse.server import Server
from unionfs.fuse.storing import Item, Storing
from unionfs.layers.directory import DirLayer
from unionfs.model import ROOT_ID, Policy
from unionfs.sysfd import RENAME_EXCHANGE
from unionfs.tree import UnionTree
from unionfs.upper import Upper

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning"),
]
BIG = HEAVY + 4096


class Reply(NamedTuple):
    unique: int
    error: int
    body: bytes


class Kernel:
    """The other end of the device."""

    def __init__(self, end: socket.socket, loop: trio.lowlevel.TrioToken) -> None:
        self._end = end
        self.loop = loop  # the server's
        self._unique = 100
        end.settimeout(20)

    def send(self, opcode: int, nodeid: int, body: bytes = b"", *, pid: int = 1) -> int:
        self._unique += 2
        head = struct.pack("=IIQQIIIHH", 40 + len(body), opcode, self._unique, nodeid, 0, 0, pid, 0, 0)
        self._end.send(head + body)
        return self._unique

    def receive(self) -> Reply:
        message = self._end.recv(2 << 20)
        length, error, unique = struct.unpack_from("=IiQ", message)
        assert length == len(message)
        return Reply(unique, -error, message[16:])

    def ask(self, opcode: int, nodeid: int, body: bytes = b"") -> Reply:
        unique = self.send(opcode, nodeid, body)
        reply = self.receive()
        assert reply.unique == unique
        return reply

    def lookup(self, name: bytes, parent: int = ROOT_ID) -> int:
        return int(struct.unpack_from("=Q", self.ask(op.LOOKUP, parent, name + b"\0").body)[0])

    def init(self, flags: int) -> Reply:
        return self.ask(
            op.INIT, 0, struct.pack("=IIIIII", 7, 45, 1 << 17, flags & 0xFFFFFFFF, flags >> 32, 0)
        )


class Served(NamedTuple):
    kernel: Kernel
    tree: UnionTree
    upper: Path
    log: list[str]


Serve = Callable[..., Served]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Serves a union with the files `small`, `big` and `many/…` below an empty top layer, from a thread with a loop."""
    for name in ("lower", "upper", "work"):
        (tmp_path / name).mkdir()
    (tmp_path / "lower/small").write_bytes(b"small")
    (tmp_path / "lower/many").mkdir()
    for number in range(20):
        (tmp_path / f"lower/many/{number}").write_bytes(b"one of many")
    (tmp_path / "lower/big").write_bytes(b"b" * BIG)
    undo: list[Callable[[], object]] = []

    def start(*, offered: int = op.NO_OPEN_SUPPORT | op.INIT_EXT, **options: object) -> Served:
        policy = Policy(userxattr=os.geteuid() != 0)
        layer = DirLayer(os.fsencode(tmp_path / "lower"), userxattr=policy.userxattr)
        upper = Upper(os.fsencode(tmp_path / "upper"), os.fsencode(tmp_path / "work"), policy)
        tree = UnionTree([layer], upper, policy)
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        log: list[str] = []
        server = Server(there.fileno(), tree, Files(tree), ServerOptions(**options), log.append)  # type: ignore[arg-type]
        started = threading.Event()
        token: list[trio.lowlevel.TrioToken] = []

        async def main() -> None:
            token.append(trio.lowlevel.current_trio_token())
            started.set()
            await server.serve()

        thread = threading.Thread(target=trio.run, args=(main,))
        thread.start()
        started.wait()
        undo.extend([here.close, there.close, tree.close, thread.join])
        undo.append(lambda: token[0].run_sync_soon(server.stop))
        kernel = Kernel(here, token[0])
        assert kernel.init(offered).error == 0
        return Served(kernel, tree, tmp_path / "upper", log)

    yield start
    for step in reversed(undo):
        step()


def write(offset: int, payload: bytes) -> bytes:
    return struct.pack("=QQIIQII", 0, offset, len(payload), 0, 0, 0, 0) + payload


READ = struct.pack("=QQIIQII", 0, 0, 100, 0, 0, 0, 0)
GETATTR = struct.pack("=IIQ", 0, 0, 0)


def test_others_have_their_turn_though_each_look_finds_a_request(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unionfs.fuse.server.TURN", 8)
    kernel, heard = serve(poll=1_000_000).kernel, threading.Event()
    kernel.loop.run_sync_soon(heard.set)
    for _ in range(100):
        kernel.ask(op.GETATTR, ROOT_ID, GETATTR)
    assert heard.is_set()


class Gate:
    """Holds copy-ups in their thread until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered, self._open = threading.Event(), threading.Event()
        fill = CopyUp.fill

        def slow(job: CopyUp) -> None:
            self.entered.set()
            assert self._open.wait(20)
            fill(job)

        monkeypatch.setattr(CopyUp, "fill", slow)

    def open(self) -> None:
        self._open.set()


def rename(name: bytes, newname: bytes, flags: int = 0) -> bytes:
    return struct.pack("=QII", ROOT_ID, flags, 0) + b"%b\0%b\0" % (name, newname)


def test_others_are_served_while_a_file_is_copied_up(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, gate = serve().kernel, Gate(monkeypatch)
    big, small = kernel.lookup(b"big"), kernel.lookup(b"small")
    waiting = kernel.send(op.WRITE, big, write(1, b"X"))
    assert gate.entered.wait(20)
    assert kernel.ask(op.GETATTR, small, GETATTR).error == 0
    assert kernel.ask(op.READ, small, READ).body == b"small"
    assert kernel.ask(op.READ, big, READ).body == b"b" * 100
    assert kernel.ask(op.GETATTR, big, GETATTR).error == 0
    gate.open()
    assert kernel.receive().unique == waiting
    assert kernel.ask(op.READ, big, READ).body == b"bX" + b"b" * 98


@pytest.mark.parametrize(
    "names", [(b"big", b"moved"), (b"big", b"small", RENAME_EXCHANGE), (b"small", b"big", RENAME_EXCHANGE)]
)
def test_others_are_served_while_a_file_is_copied_up_to_be_renamed(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, names: tuple[bytes, bytes] | tuple[bytes, bytes, int]
) -> None:
    kernel, tree, upper, _ = serve()
    kernel.lookup(b"big")
    small = kernel.lookup(b"small")
    tree.copy_up(tree.nodes[small])
    gate = Gate(monkeypatch)
    waiting = kernel.send(op.RENAME2, ROOT_ID, rename(*names))
    assert gate.entered.wait(20)
    assert kernel.ask(op.GETATTR, small, GETATTR).error == 0
    gate.open()
    assert kernel.receive()[:2] == (waiting, 0)
    moved = names[1] if names[0] == b"big" else names[0]
    assert (upper / os.fsdecode(moved)).stat().st_size == BIG


def test_changes_of_a_node_keep_their_order(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    (kernel, _, upper, _), gate = serve(), Gate(monkeypatch)
    big, small = kernel.lookup(b"big"), kernel.lookup(b"small")
    sent = [kernel.send(op.WRITE, big, write(0, b"1"))]
    assert gate.entered.wait(20)
    sent.append(kernel.send(op.WRITE, big, write(0, b"22")))
    sent.append(kernel.send(op.WRITE, big, write(1, b"3")))
    sent.append(kernel.send(op.RENAME2, ROOT_ID, rename(b"big", b"moved")))
    assert kernel.ask(op.GETATTR, small, GETATTR).error == 0  # so the others have arrived
    assert not (upper / "moved").exists()
    gate.open()
    replies = [kernel.receive() for _ in sent]
    assert [reply.unique for reply in replies] == sent
    assert {reply.error for reply in replies} == {0}
    assert (upper / "moved").read_bytes() == b"23" + b"b" * (BIG - 2)


@pytest.mark.parametrize("other", ["write", "exchange"])
def test_requests_that_need_the_same_two_files_take_turns(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, other: str
) -> None:
    kernel, _, upper, log = serve()
    for name in ("one", "two"):
        (tmp_path / "lower" / name).write_bytes(name.encode() * BIG)
        os.link(
            tmp_path / "lower" / name, tmp_path / "lower" / f"{name}-more"
        )  # so that it moves with its data
    one, two = kernel.lookup(b"one"), kernel.lookup(b"two")
    gates: list[threading.Event] = []
    fill, entered = CopyUp.fill, threading.Semaphore(0)

    def slow(job: CopyUp) -> None:
        gate = threading.Event()
        gates.append(gate)
        entered.release()
        assert gate.wait(20)
        fill(job)

    monkeypatch.setattr(CopyUp, "fill", slow)
    sent = [kernel.send(op.RENAME2, ROOT_ID, rename(b"one", b"two", RENAME_EXCHANGE))]
    assert entered.acquire(timeout=20)
    if other == "write":
        sent.append(kernel.send(op.WRITE, two, write(0, b"X")))
        assert entered.acquire(timeout=20)
    else:
        sent.append(kernel.send(op.RENAME2, ROOT_ID, rename(b"two", b"one", RENAME_EXCHANGE)))
    assert kernel.ask(op.GETATTR, one, GETATTR).error == 0
    monkeypatch.setattr(CopyUp, "fill", fill)
    gates[0].set()  # now the first needs the second file, too
    time.sleep(0.3)
    for gate in gates[1:]:
        gate.set()
    assert sorted(kernel.receive()[:2] for _ in sent) == [(unique, 0) for unique in sent]
    assert kernel.ask(op.GETATTR, one, GETATTR).error == 0
    now = {name: (upper / name).read_bytes()[:3] for name in ("one", "two")}
    assert now == ({"one": b"Xwo", "two": b"one"} if other == "write" else {"one": b"one", "two": b"two"})
    assert log == []


def test_an_unlink_waits_for_the_copy_up_of_what_it_removes(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    (kernel, _, upper, _), gate = serve(), Gate(monkeypatch)
    big = kernel.lookup(b"big")
    kernel.lookup(b"small")
    sent = [kernel.send(op.WRITE, big, write(0, b"1"))]
    assert gate.entered.wait(20)
    sent.append(kernel.send(op.UNLINK, ROOT_ID, b"big\0"))
    assert kernel.ask(op.UNLINK, ROOT_ID, b"small\0").error == 0
    gate.open()
    assert [kernel.receive().unique for _ in sent] == sent
    assert kernel.ask(op.READ, big, READ).body == b"1" + b"b" * 99  # an unlinked file stays readable
    assert not (upper / "big").is_file()


def test_a_copy_up_that_fails_answers_everyone_and_leaves_nothing(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kernel = serve().kernel
    big = kernel.lookup(b"big")
    entered, go = threading.Event(), threading.Event()

    def full(job: CopyUp) -> None:
        entered.set()
        go.wait(20)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(CopyUp, "_fill", full)
        sent = [kernel.send(op.WRITE, big, write(0, b"1"))]
        assert entered.wait(20)
        sent.append(kernel.send(op.WRITE, big, write(0, b"2")))
        assert kernel.ask(op.READ, big, READ).error == 0
        go.set()
        assert [kernel.receive()[:2] for _ in sent] == [(unique, 28) for unique in sent]
    assert not any((tmp_path / "work").rglob("*[0-9]*.tmp"))
    assert kernel.ask(op.WRITE, big, write(0, b"3")).error == 0


def test_two_processes_that_read_the_same_files_ahead(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for number in range(30):
        (tmp_path / f"lower/file{number:02}").write_bytes(b"x" * 100)
    os.link(tmp_path / "lower/file05", tmp_path / "lower/file05b")  # one inode, twice in the listing
    kernel, tree, _, log = serve(offered=op.INIT_EXT)
    kernel.ask(op.READDIRPLUS, ROOT_ID, struct.pack("=QQIIQII", 0, 0, 1 << 16, 0, 0, 0, 0))
    files = [row.ino for row in tree.readdir(ROOT_ID, 0) if row.name.startswith(b"file")]
    assert len(files) > len(set(files))
    gate = threading.Event()
    store_all = Storing._store_all

    def slow(storing: Storing, items: list[Item], buffer: memoryview) -> None:
        assert gate.wait(20)
        store_all(storing, items, buffer)

    monkeypatch.setattr(Storing, "_store_all", slow)
    order = [(2, files[0]), (2, files[1]), (3, files[2]), (3, files[3]), (3, files[4])]
    sent = {kernel.send(op.OPEN, node, struct.pack("=II", os.O_RDONLY, 0), pid=pid) for pid, node in order}
    gate.set()
    while sent:
        sent.discard(kernel.receive().unique)  # between them are the stores
    small = kernel.send(op.GETATTR, files[0], GETATTR)
    while kernel.receive().unique != small:
        pass
    assert log == []


def test_without_a_guard_nothing_is_stored_and_nobody_waits_for_it(serve: Serve) -> None:
    kernel = serve(offered=op.INIT_EXT, readahead=1 << 20).kernel
    many = kernel.lookup(b"many")
    rows = kernel.ask(op.READDIR, many, struct.pack("=QQIIQII", 0, 0, 4096, 0, 0, 0, 0)).body
    names, at = [], 0
    while at < len(rows):
        length = struct.unpack_from("=I", rows, at + 16)[0]
        names.append(rows[at + 24 : at + 24 + length])
        at += 24 + length + 7 & ~7
    nodes = [kernel.lookup(name, many) for name in names if name not in (b".", b"..")]
    for node in nodes[:4]:
        assert kernel.ask(op.OPEN, node, struct.pack("=II", os.O_RDONLY, 0)).error == 0
    for node in nodes:
        assert kernel.ask(op.OPEN, node, struct.pack("=II", os.O_RDWR, 0)).error == 0


def test_without_threads_everything_runs_in_order(serve: Serve) -> None:
    kernel = serve(threads=False).kernel
    big = kernel.lookup(b"big")
    assert kernel.ask(op.WRITE, big, write(1, b"X")).error == 0
    assert kernel.ask(op.FSYNC, big, struct.pack("=QII", 0, 0, 0)).error == 0
    assert kernel.ask(op.READ, big, READ).body == b"bX" + b"b" * 98


def test_an_unexpected_exception_is_eio_and_one_line_and_the_mount_lives(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel, tree, _, log = serve()
    small = kernel.lookup(b"small")

    def broken(_: int) -> None:
        raise ValueError("a surprise")

    with monkeypatch.context() as patch:
        patch.setattr(type(tree), "listxattr", lambda tree, ino: broken(ino))
        assert kernel.ask(op.LISTXATTR, small, struct.pack("=II", 0, 0)).error == 5
    assert len(log) == 1
    assert "LISTXATTR" in log[0]
    assert "a surprise" in log[0]
    assert kernel.ask(op.GETATTR, small, GETATTR).error == 0


@pytest.mark.parametrize(
    ("opcode", "number"),
    [
        (op.STATX, 38), (op.POLL, 38), (op.FLUSH, 38), (op.ACCESS, 38), (op.SYNCFS, 38), (op.INTERRUPT, 38),
        (op.SETLK, 38), (op.IOCTL, 25), (49, 38), (54, 38), (4096, 38), (op.OPEN, 38), (op.CREATE, 38),
    ],
)  # fmt: skip
def test_what_is_not_served_is_refused(serve: Serve, opcode: int, number: int) -> None:
    assert serve().kernel.ask(opcode, ROOT_ID, bytes(64)).error == number


def test_a_missing_name_is_an_answer_to_keep(serve: Serve) -> None:
    reply = serve().kernel.ask(op.LOOKUP, ROOT_ID, b"nothing\0")
    nodeid, _, valid = struct.unpack_from("=QQQ", reply.body)
    assert (reply.error, nodeid, valid) == (0, 0, abi.FOREVER.sec)


def test_unless_that_is_switched_off(serve: Serve) -> None:
    assert serve(negative=False).kernel.ask(op.LOOKUP, ROOT_ID, b"nothing\0").error == 2


def test_xattr_sizes(serve: Serve) -> None:
    kernel = serve().kernel
    small = kernel.lookup(b"small")
    value = struct.pack("=II", 5, 0) + b"user.x\0value"
    assert kernel.ask(op.SETXATTR, small, value).error == 0
    assert kernel.ask(op.GETXATTR, small, struct.pack("=II", 0, 0) + b"user.x\0").body == struct.pack(
        "=II", 5, 0
    )
    assert kernel.ask(op.GETXATTR, small, struct.pack("=II", 4, 0) + b"user.x\0").error == 34
    assert kernel.ask(op.GETXATTR, small, struct.pack("=II", 5, 0) + b"user.x\0").body == b"value"
    assert b"user.x\0" in kernel.ask(op.LISTXATTR, small, struct.pack("=II", 1000, 0)).body


def test_a_listing_counts_the_rows_it_sends(serve: Serve) -> None:
    served = serve()
    kernel = served.kernel
    row = 152 + 8  # names of up to eight bytes: ".", "..", and one of the others
    reply = kernel.ask(op.READDIRPLUS, ROOT_ID, struct.pack("=QQIIQII", 0, 0, 3 * row, 0, 0, 0, 0))
    assert len(reply.body) == 3 * row
    sent = struct.unpack_from("=Q", reply.body, 2 * row)[0]
    assert served.tree.nodes.known(sent)
    other = b"big" if reply.body[2 * row + 152 :].rstrip(b"\0") != b"big" else b"small"
    nodeid = kernel.lookup(other)
    kernel.send(op.FORGET, nodeid, struct.pack("=Q", 1))
    kernel.send(op.BATCH_FORGET, 0, struct.pack("=IIQQ", 1, 0, sent, 1))
    assert kernel.ask(op.STATFS, ROOT_ID).error == 0
    assert not served.tree.nodes.known(sent)
    assert not served.tree.nodes.known(nodeid)


def test_a_too_old_kernel_gets_an_error(tmp_path: Path) -> None:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    tree = UnionTree([DirLayer(os.fsencode(tmp_path), userxattr=True)], None, Policy())
    here.send(struct.pack("=IIQQIIIHH", 56, op.INIT, 2, 0, 0, 0, 0, 0, 0) + struct.pack("=IIII", 7, 8, 0, 0))
    with here, there, pytest.raises(Exception, match=r"FUSE 7\.8"):
        trio.run(Server(there.fileno(), tree, Files(tree)).serve)
    tree.close()
