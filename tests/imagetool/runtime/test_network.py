"""The bridge, its addresses, and published ports, with real containers; nothing of it may stay."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from imagetool.errors import UsageError
from imagetool.runtime import leases, ports, proxy
from imagetool.runtime.base import Container, Stdio
from imagetool.runtime.errors import NetworkError
from imagetool.runtime.leases import Lease
from imagetool.runtime.network import Bridge, Netlink
from imagetool.runtime.ports import Port
from imagetool.runtime.usernet import ADDRESS, UserNet, slirp
from tests.imagetool.runtime.kit import LINKS, NO_STDIO, Runner
from tests.support.process import wait_until

pytestmark = pytest.mark.timeout(90)

NET = f"10.{214 + os.getpid() // 256 % 32}.{os.getpid() % 256}"  # of this run alone
SUBNET = f"{NET}.0/24"
NAME = f"{LINKS}b"


@pytest.fixture(scope="module")
def netlink() -> Iterator[Netlink]:
    with Netlink() as helper:
        yield helper


@pytest.fixture
def bridges(tmp_path: Path, netlink: Netlink) -> Iterator[list[Bridge]]:
    """Two networks; each test takes away what it has connected, and then they are gone by themselves."""
    forwarding = Path("/proc/sys/net/ipv4/ip_forward")
    before = forwarding.read_text()
    made = [
        Bridge(tmp_path / "net", name=NAME, subnet=SUBNET),
        Bridge(tmp_path / "net2", name=f"{NAME}2", subnet=SUBNET.replace("10.", "100.", 1)),
    ]
    yield made
    forwarding.write_text(before)
    left = [each for each in made if is_there(each.name)]
    for each in left:
        each.disconnect(netlink, "none")
    assert left == []


def is_there(link: str) -> bool:
    return Path("/sys/class/net", link).exists()


@pytest.fixture
def bridge(bridges: list[Bridge]) -> Bridge:
    return bridges[0]


SERVE = "mkdir -p /w; echo I am {name} > /w/index.html; exec httpd -f -p 80 -h /w"


@contextmanager
def servers(runner: Runner, *names: str) -> Iterator[list[Container]]:
    """One web server a name, each in a container of its own that is created and not yet started."""
    with ExitStack() as stack:
        made = []
        for name in names:
            bundle = runner.bundle / name
            bundle.mkdir()
            spec = runner.prepare("sh", "-c", SERVE.format(name=name), host={"cgroup_version": 0}).spec
            spec["root"]["path"] = str(runner.rootfs)
            spec["mounts"].append({"destination": "/w", "type": "tmpfs", "source": "tmpfs", "options": []})
            runner.write(spec)
            (runner.bundle / "config.json").rename(bundle / "config.json")
            container = runner.executor.create(bundle, name, NO_STDIO)
            stack.callback(container.abandon)
            made.append(container)
        yield made


def fetch(address: str, port: int) -> str:
    """One HTTP request; tried again while the server is starting."""
    for _ in range(100):
        try:
            with socket.create_connection((address, port), timeout=5) as sock:
                sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
                answer = b"".join(iter(lambda s=sock: s.recv(65536), b""))  # type: ignore[misc]
                if answer:
                    return answer.partition(b"\r\n\r\n")[2].decode()
        except ConnectionError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"no answer from {address}:{port}")


def test_three_servers_on_port_80_at_once(runner: Runner, bridge: Bridge, netlink: Netlink) -> None:
    names = ("one", "two", "three")
    with servers(runner, *names) as containers:
        found = [bridge.connect(netlink, n, c.pid, (n,)) for n, c in zip(names, containers, strict=True)]
        assert [lease.address for lease in found] == [f"{NET}.{n}" for n in (2, 3, 4)]
        assert bridge.names() == {n: lease.address for n, lease in zip(names, found, strict=True)}
        for container in containers:
            container.start()
        bound = proxy.bind([Port("127.0.0.1", 0, 80) for _ in names])

        async def use() -> list[str]:
            async with trio.open_nursery() as nursery:
                for listening, lease in zip(bound, found, strict=True):
                    nursery.start_soon(proxy.serve, [listening], lease.address)
                pages = [await trio.to_thread.run_sync(fetch, "127.0.0.1", b.port.host) for b in bound]
                nursery.cancel_scope.cancel()
            return pages

        assert trio.run(use) == [f"I am {n}\n" for n in names]
        assert fetch(f"{NET}.3", 80) == "I am two\n"
    for name in names:
        bridge.disconnect(netlink, name)


def test_containers_reach_each_other_and_the_gateway(
    runner: Runner, bridge: Bridge, netlink: Netlink
) -> None:
    with servers(runner, "web") as (web,):
        bridge.connect(netlink, "web", web.pid)
        web.start()
        runner.prepare(
            "sh", "-c", f"wget -q -O- http://{NET}.2/ && ip route | head -1", host={"cgroup_version": 0}
        )
        out = (runner.bundle / "out").open("w+b")
        with out, runner.created(Stdio(-1, out.fileno(), out.fileno())) as client:
            fetch(f"{NET}.2", 80)
            bridge.connect(netlink, "client", client.pid)
            client.start()
            assert client.wait() == 0
            bridge.disconnect(netlink, "client")
        assert (runner.bundle / "out").read_text() == f"I am web\ndefault via {NET}.1 dev eth0 \n"
        bridge.disconnect(netlink, "web")


def test_the_way_out_is_translated(runner: Runner, bridges: list[Bridge], netlink: Netlink) -> None:
    """A server beyond the bridge, which has no route back to the container, is reached all the same."""
    bridge, beyond = bridges
    with servers(runner, "web") as (web,):
        found = beyond.connect(netlink, "web", web.pid)
        subprocess.run(["nsenter", "-t", str(web.pid), "-n", "ip", "route", "del", "default"], check=True)
        web.start()
        runner.prepare(
            "timeout", "8", "wget", "-q", "-O-", f"http://{found.address}/", host={"cgroup_version": 0}
        )
        out = (runner.bundle / "out").open("w+b")
        with out, runner.created(Stdio(-1, out.fileno(), out.fileno())) as client:
            fetch(found.address, 80)
            bridge.connect(netlink, "client", client.pid)
            client.start()
            assert client.wait() == 0
            bridge.disconnect(netlink, "client")
        assert (runner.bundle / "out").read_text() == "I am web\n"
        beyond.disconnect(netlink, "web")
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    assert NAME not in tables


def test_a_crash_leaves_nothing_for_long(runner: Runner, bridge: Bridge, netlink: Netlink) -> None:
    """The lease of a process that is gone is free again, and its link was removed with its namespace."""
    with servers(runner, "a", "b") as (first, second):
        bridge.connect(netlink, "a", first.pid)
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        assert bridge.connect(netlink, "b", second.pid).address == f"{NET}.2"
        assert bridge.names() == {}
        bridge.disconnect(netlink, "b")


def test_what_is_reserved_is_there_when_a_container_connects(
    runner: Runner, bridge: Bridge, netlink: Netlink
) -> None:
    with servers(runner, "a", "b") as (first, second):
        bridge.reserve(netlink, "a", os.getpid(), ("web",))
        netlink.hear()
        assert is_there(NAME)
        assert bridge.names() == {"web": f"{NET}.2"}
        assert bridge.connect(netlink, "b", second.pid).address == f"{NET}.3"
        assert bridge.connect(netlink, "a", first.pid, ("web",)) == (
            f"{NET}.2", first.pid, leases.started(first.pid), ("web",),
        )  # fmt: skip
        for name in ("a", "b"):
            bridge.disconnect(netlink, name)


def test_what_was_reserved_goes_with_who_leaves(bridge: Bridge) -> None:
    helper = Netlink()
    bridge.reserve(helper, "a", os.getpid())
    bridge.leave(helper, "a", os.getpid())
    helper.__exit__(None, None, None)
    assert not is_there(NAME)
    assert bridge.names() == {}


def test_a_failed_reservation_is_the_error_of_who_connects(tmp_path: Path, netlink: Netlink) -> None:
    none = Bridge(tmp_path / "net", name=NAME, subnet="10.0.0.0/31")
    none.reserve(netlink, "a", os.getpid())
    none.reserve(netlink, "b", os.getpid())
    with pytest.raises(NetworkError, match="cannot prepare the container's network: no address is free"):
        none.connect(netlink, "b", os.getpid())
    none.disconnect(netlink, "a")


def test_a_killed_helper_keeps_nobody_from_leaving(runner: Runner, bridge: Bridge) -> None:
    with servers(runner, "a") as (container,):
        helper = Netlink()
        bridge.connect(helper, "a", container.pid)
        os.kill(helper.pid, signal.SIGKILL)
        os.waitid(os.P_PID, helper.pid, os.WEXITED | os.WNOWAIT)
        bridge.leave(helper, "a", container.pid)
        wait_until(lambda: not is_there(NAME), 20, "the bridge goes")
        helper.__exit__(None, None, None)


def test_a_link_that_lost_its_lease_is_swept(runner: Runner, bridge: Bridge, netlink: Netlink) -> None:
    subprocess.run(
        ["ip", "link", "add", f"{NAME}-stale", "type", "veth", "peer", "name", f"{LINKS}p"], check=True
    )
    with servers(runner, "a") as (container,):
        bridge.connect(netlink, "a", container.pid)
        assert not is_there(f"{NAME}-stale")
        bridge.disconnect(netlink, "a")


def test_who_leaves_takes_nothing_from_a_new_start(runner: Runner, bridge: Bridge) -> None:
    with servers(runner, "old", "new") as (old, new):
        first, second, third = Netlink(), Netlink(), Netlink()
        bridge.connect(first, "a", old.pid)
        os.kill(old.pid, signal.SIGKILL)
        old.wait()
        bridge.connect(second, "a", new.pid)
        bridge.leave(first, "a", old.pid)
        first.__exit__(None, None, None)
        assert is_there(f"{NAME}-a")
        bridge.leave(third, "a", new.pid)
        wait_until(lambda: not is_there(NAME), 20, "the bridge goes")
        assert not is_there(f"{NAME}-a")
        for helper in (second, third):
            helper.__exit__(None, None, None)


def test_a_failure_leaves_no_link(bridge: Bridge, netlink: Netlink) -> None:
    with pytest.raises(NetworkError, match="cannot connect"):
        bridge.connect(netlink, "none", 2**22 - 1)
    bridge.disconnect(netlink, "none")


def test_a_port_that_is_taken() -> None:
    first = proxy.bind([Port("127.0.0.1", 0, 80)])
    taken = first[0].port.host
    try:
        with pytest.raises(NetworkError, match=f"port 127.0.0.1:{taken}/tcp is already allocated"):
            proxy.bind([Port("127.0.0.1", 0, 1), Port("127.0.0.1", taken, 80)])
    finally:
        first[0].sock.close()


def test_udp_and_half_closed_tcp() -> None:
    """An echo server behind the proxy: datagrams, and an answer that begins after the request has ended."""

    async def run() -> tuple[bytes, bytes]:
        udp = trio.socket.socket(type=socket.SOCK_DGRAM)
        await udp.bind(("127.0.0.1", 0))
        tcp = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]

        async def answer_datagrams() -> None:
            while True:
                data, sender = await udp.recvfrom(1000)
                await udp.sendto(b"<" + data + b">", sender)

        async def answer(stream: trio.SocketStream) -> None:
            data = b"".join([part async for part in stream])
            await stream.send_all(data[::-1])
            await stream.aclose()

        bound = proxy.bind(
            [
                Port("127.0.0.1", 0, udp.getsockname()[1], "udp"),
                Port("127.0.0.1", 0, tcp.socket.getsockname()[1]),
            ]
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer_datagrams)
            nursery.start_soon(trio.serve_listeners, answer, [tcp])
            nursery.start_soon(proxy.serve, bound, "127.0.0.1")
            client = trio.socket.socket(type=socket.SOCK_DGRAM)
            await client.connect(("127.0.0.1", bound[0].port.host))
            await client.send(b"hi")
            datagram = await client.recv(100)
            client.close()
            stream = await trio.open_tcp_stream("127.0.0.1", bound[1].port.host)
            await stream.send_all(b"abc" * 100_000)
            await stream.send_eof()
            reply = b"".join([part async for part in stream])
            await stream.aclose()
            nursery.cancel_scope.cancel()
        udp.close()
        return datagram, reply

    datagram, reply = trio.run(run)
    assert datagram == b"<hi>"
    assert reply == b"cba" * 100_000


def test_user_space_network(runner: Runner) -> None:
    """By slirp4netns; pasta gives its rights away if it is started by root, see the containers of users."""
    with servers(runner, "slirp") as (container,):
        network = UserNet(slirp(container.pid), container.pid)
        inside = proxy.Inside(f"/proc/{container.pid}/ns/net")
        try:
            container.start()
            bound = proxy.bind([Port("127.0.0.1", 0, 80)])

            async def use() -> str:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(proxy.serve, bound, ADDRESS, inside)
                    page = await trio.to_thread.run_sync(fetch, "127.0.0.1", bound[0].port.host)
                    nursery.cancel_scope.cancel()
                return page

            assert trio.run(use) == "I am slirp\n"
        finally:
            inside.close()
            network.close()


PORTS = [
    ("80", [Port("0.0.0.0", 0, 80)]),
    ("8080:80", [Port("0.0.0.0", 8080, 80)]),
    ("127.0.0.1:8080:80/udp", [Port("127.0.0.1", 8080, 80, "udp")]),
    ("127.0.0.1::80", [Port("127.0.0.1", 0, 80)]),
    ("[::1]:8080:80", [Port("::1", 8080, 80)]),
    ("9000-9001:80-81", [Port("0.0.0.0", 9000, 80), Port("0.0.0.0", 9001, 81)]),
]


@pytest.mark.parametrize(("text", "expected"), PORTS)
def test_ports(text: str, expected: list[Port]) -> None:
    assert ports.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["", "x", "80:", "1:2:3:4", "70000:80", "80/x", "1-2:3", "host:80:80", "0", "2-1:2-1"]
)
def test_bad_ports(text: str) -> None:
    with pytest.raises(UsageError, match="invalid port"):
        ports.parse(text)


@given(st.sets(st.integers(2, 6)))
def test_an_address_is_free_or_there_is_none(used: set[int]) -> None:
    taken = {str(n): Lease(f"10.0.0.{n}", 1, "") for n in used}
    if used == {2, 3, 4, 5, 6}:
        with pytest.raises(NetworkError, match="no address is free"):
            leases.choose("10.0.0.0/29", taken)
    else:
        assert leases.choose("10.0.0.0/29", taken) == f"10.0.0.{min({2, 3, 4, 5, 6} - used)}"


def test_hosts_and_resolv_conf() -> None:
    text = ports.hosts_file("10.1.0.2", "me", {"db": "10.1.0.3"})
    assert text.splitlines()[2:] == ["10.1.0.2\tme", "10.1.0.3\tdb"]
    host = "# x\nsearch a.b\nnameserver 127.0.0.53\nnameserver 9.9.9.9\n"
    assert ports.resolv_conf(host, own_network=True) == "search a.b\nnameserver 9.9.9.9\n"
    assert (
        ports.resolv_conf(host, own_network=False)
        == "search a.b\nnameserver 127.0.0.53\nnameserver 9.9.9.9\n"
    )
    assert "nameserver 8.8.8.8" in ports.resolv_conf("nameserver ::1\n", own_network=True)
