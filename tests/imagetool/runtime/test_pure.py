"""The decisions: plans, requests, accounts, options, limits. Nothing here touches the machine."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagetool.errors import Malformed, UsageError
from imagetool.runtime import (
    capabilities,
    cgroups,
    defaults,
    linux,
    options,
    plan,
    request,
    seccomp_default,
    signals,
    users,
)
from imagetool.runtime.options import ImageDefaults, Mount, Resources, RunOptions
from imagetool.runtime.terminal import DetachKeys, parse_keys
from imagetool.runtime.users import User

HOST = plan.Host("0123456789abcdef", cgroup_version=2, cgroup_path="/imagetool/x")
PASSWD = b"root:x:0:0:root:/root:/bin/sh\n# comment\nbad line\nweb:x:33:34::/srv:/bin/false\n7:x:70:71::/:\n"
GROUP = b"root:x:0:\nstaff:x:50:web,other\nwheel:x:10:root,web\nweb:x:34:\nbroken:x:zz:web\n"


def spec(**wanted: Any) -> dict[str, Any]:
    host = wanted.pop("host", HOST)
    image = wanted.pop("image", ImageDefaults(command=("x",)))
    return plan.plan(RunOptions(**wanted), image, wanted.pop("user_ids", User()), host).spec


class TestUsers:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", User(0, 0, (0, 10), "/root")),
            ("web", User(33, 34, (34, 50, 10), "/srv")),
            ("33", User(33, 34, (34, 50, 10), "/srv")),
            ("web:staff", User(33, 50, (), "/srv")),
            ("web:7", User(33, 7, (), "/srv")),
            ("1000", User(1000, 0, (0,), "/")),
            ("1000:1001", User(1000, 1001, (), "/")),
            ("7", User(70, 71, (71,), "/")),
            ("2147483647", User(2147483647, 0, (0,), "/")),
        ],
    )
    def test_resolve(self, text: str, expected: User) -> None:
        assert users.resolve(text, PASSWD, GROUP) == expected

    @pytest.mark.parametrize(
        "text", ["nobody", "web:nogroup", "-1", "2147483648", "1:-1", "99999999999999999999", "٣"]
    )
    def test_unknown(self, text: str) -> None:
        with pytest.raises(UsageError, match=r"unable to find|out of range"):
            users.resolve(text, PASSWD, GROUP)

    def test_no_files(self) -> None:
        assert users.resolve("", b"", b"") == User(0, 0, (0,), "/")

    @given(st.binary(max_size=200), st.binary(max_size=200), st.text("web01:", max_size=5))
    def test_any_files_give_a_user_or_an_error(self, passwd: bytes, group: bytes, text: str) -> None:
        try:
            found = users.resolve(text, passwd, group)
        except UsageError:
            return
        assert all(0 <= n <= users.ID_MAX for n in (found.uid, found.gid, *found.groups))


class TestCapabilities:
    def test_dockers_mask(self) -> None:
        assert capabilities.mask(capabilities.DEFAULT) == 0xA80425FB

    @pytest.mark.parametrize(
        ("add", "drop", "expected"),
        [
            (["sys_admin"], [], {*capabilities.DEFAULT, "CAP_SYS_ADMIN"}),
            ([], ["all"], set()),
            (["CHOWN"], ["ALL"], {"CAP_CHOWN"}),
            (["ALL"], ["CAP_SYS_ADMIN"], set(capabilities.NAMES) - {"CAP_SYS_ADMIN"}),
            ([], ["kill"], set(capabilities.DEFAULT) - {"CAP_KILL"}),
        ],
    )
    def test_granted(self, add: list[str], drop: list[str], expected: set[str]) -> None:
        assert set(capabilities.granted(add, drop, privileged=False, available=-1)) == expected

    def test_never_more_than_there_is(self) -> None:
        assert capabilities.granted(["ALL"], [], privileged=True, available=0b101) == [
            "CAP_CHOWN",
            "CAP_DAC_READ_SEARCH",
        ]

    def test_unknown(self) -> None:
        with pytest.raises(UsageError, match="unknown capability 'CAP_FLY'"):
            capabilities.granted(["fly"], [], privileged=False, available=-1)

    @given(st.sets(st.sampled_from(capabilities.NAMES)))
    def test_names_and_masks(self, names: set[str]) -> None:
        assert set(capabilities.names(capabilities.mask(names))) == names


class TestPlan:
    def test_arguments(self) -> None:
        image = ImageDefaults(("e",), ("c",))
        assert plan.arguments(RunOptions(), image) == ["e", "c"]
        assert plan.arguments(RunOptions(command=("x",)), image) == ["e", "x"]
        assert plan.arguments(RunOptions(entrypoint=("n",)), image) == ["n"]
        assert plan.arguments(RunOptions(entrypoint=("",), command=("x",)), image) == ["x"]
        with pytest.raises(UsageError, match="no command specified"):
            plan.arguments(RunOptions(), ImageDefaults())

    def test_environment(self) -> None:
        image = ImageDefaults(env=("PATH=/image", "A=1", "E="))
        rows = plan.environment(RunOptions(env=("A=2", "B=x=y"), tty=True), image, "/home/u", "h")
        assert rows == ["PATH=/image", "HOSTNAME=h", "TERM=xterm", "A=2", "E=", "B=x=y", "HOME=/home/u"]

    def test_namespaces(self) -> None:
        def kinds(**wanted: Any) -> set[str]:
            return {n["type"] for n in spec(**wanted)["linux"]["namespaces"]}

        assert kinds() == {"mount", "pid", "ipc", "uts", "network", "cgroup"}
        assert kinds(network="host", pid="host", ipc="host", uts="host") == {"mount", "cgroup"}
        assert kinds(isolation="chroot") == {"mount"}
        assert {"type": "network", "path": "/run/ns"} in spec(network="/run/ns")["linux"]["namespaces"]
        assert "hostname" not in spec(uts="host")

    def test_user_mounts_come_last_and_parents_first(self) -> None:
        mounts = (Mount("bind", "/h", "/a/b"), Mount("tmpfs", "", "/a"), Mount("bind", "/x", "/dev/shm"))
        targets = [m["destination"] for m in spec(mounts=mounts)["mounts"]]
        assert targets[-3:] == ["/a", "/a/b", "/dev/shm"]
        assert targets.count("/dev/shm") == 1

    def test_limits(self) -> None:
        wanted = Resources(memory=1000, nano_cpus=1_500_000_000, cpu_shares=2, cpuset_cpus="0", pids=-1)
        found = spec(resources=wanted)["linux"]["resources"]
        assert found["memory"] == {"limit": 1000, "swap": 2000}
        assert found["cpu"] == {"period": 100_000, "quota": 150_000, "shares": 2, "cpus": "0"}
        assert "pids" not in found

    def test_what_cannot_be_isolated_is_said(self) -> None:
        bare = plan.Host("x", single_id=True)
        made = plan.plan(
            RunOptions(command=("x",), resources=Resources(pids=1)), ImageDefaults(), User(5), bare
        )
        assert len(made.notes) == 3
        assert made.spec["process"]["user"]["uid"] == 0

    def test_privileged_has_no_masks(self) -> None:
        linux_part = spec(privileged=True)["linux"]
        assert (linux_part["maskedPaths"], linux_part["readonlyPaths"]) == ([], [])
        assert "seccomp" not in linux_part

    def test_a_relative_working_directory(self) -> None:
        with pytest.raises(UsageError, match="not an absolute path"):
            spec(workdir="a")


class TestRequest:
    def test_mount_options(self) -> None:
        step = request.mount_step(
            {
                "destination": "/t",
                "type": "tmpfs",
                "source": "t",
                "options": ["ro", "nosuid", "noexec", "exec", "size=1k", "noswap"],
            },
            "/b",
        )[0]
        assert step["on"] == linux.ATTR_RDONLY | linux.ATTR_NOSUID
        assert step["options"] == [(b"size", b"1k"), (b"noswap", None)]
        bind = request.mount_step(
            {"destination": "/dev/x", "type": "bind", "source": "s", "options": ["rbind", "ro", "rslave"]},
            "/b",
        )[0]
        assert bind == {
            "kind": "bind", "source": "/b/s", "target": "/dev/x", "links": False, "on": linux.ATTR_RDONLY, "off": 0,
            "recursive": True, "propagation": linux.MS_SLAVE,
        }  # fmt: skip

    def test_no_link_is_followed_below_system_directories(self) -> None:
        rows = {m["destination"]: request.mount_step(m, "/b")[0]["links"] for m in spec()["mounts"]}
        assert not any(rows.values())
        assert request.mount_step({"destination": "/devel", "type": "tmpfs"}, "/b")[0]["links"]

    def test_cgroups_of_version_1_are_a_directory_of_hierarchies(self) -> None:
        made = request.create(spec(), "/b", b"", [("cpu", "cpuacct"), ("pids",)])
        place = "/sys/fs/cgroup"
        rows = [row for row in made["mounts"] if row["target"].startswith(place)]
        assert [(row["kind"], row["target"].removeprefix(place)) for row in rows] == [
            ("tmpfs", ""), ("cgroup", "/cpu,cpuacct"), ("cgroup", "/pids"),
        ]  # fmt: skip
        assert rows[1]["options"] == [(b"cpu", None), (b"cpuacct", None)]
        assert {bool(row["on"] & linux.ATTR_RDONLY) for row in rows[1:]} == {True}
        assert (f"{place}/cpu", "cpu,cpuacct") in made["symlinks"]
        assert made["sealed"] == [place]
        assert request.create(spec(), "/b")["sealed"] == []

    def test_a_spec_becomes_what_marshal_takes(self) -> None:
        import marshal

        assert marshal.loads(marshal.dumps(request.create(spec(), "/b")))["root"] == "/b/rootfs"

    @pytest.mark.parametrize(
        "change",
        [{"args": []}, {"args": ["a\0b"]}, {"cwd": None}, {"user": {}},
         {"rlimits": [{"type": "X", "soft": 1, "hard": 1}]},
         {"capabilities": {"bounding": 5}}],
    )  # fmt: skip
    def test_a_broken_spec(self, change: dict[str, Any]) -> None:
        broken = spec()
        broken["process"] |= change
        with pytest.raises(Malformed, match=r"config\.json"):
            request.create(json.loads(json.dumps(broken)), "/b")


class TestOptions:
    @pytest.mark.parametrize(
        ("text", "size"),
        [
            ("10", 10),
            ("10b", 10),
            ("1k", 1024),
            ("1KB", 1024),
            ("1.5g", 3 << 29),
            ("2MiB", 2 << 20),
            ("0", 0),
        ],
    )
    def test_sizes(self, text: str, size: int) -> None:
        assert options.parse_size(text) == size

    @pytest.mark.parametrize("text", ["", "x", "-1", "1x", "1kk", "nan", "inf", "1e99g", "m"])
    def test_bad_sizes(self, text: str) -> None:
        with pytest.raises(UsageError, match="invalid size"):
            options.parse_size(text)

    def test_volumes(self) -> None:
        assert options.parse_volume("/a:/b:ro") == Mount("bind", "/a", "/b", True)
        assert options.parse_volume("name:/b") == Mount("volume", "name", "/b")
        assert options.parse_volume("/b") == Mount("volume", "", "/b")
        assert options.parse_volume("./a:/b:z,nosuid") == Mount("bind", "./a", "/b", False, ("nosuid",))
        for bad in ("", "a:b", "/a:/", "/a:/b:/c:/d", ":/a", "/a:", "/a:/b:what"):
            with pytest.raises(UsageError, match="invalid"):
                options.parse_volume(bad)

    def test_mounts(self) -> None:
        assert options.parse_mount("type=bind,src=/a,dst=/b,readonly") == Mount("bind", "/a", "/b", True)
        assert options.parse_mount("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1770") == Mount(
            "tmpfs", "", "/t", False, ("size=1048576", "mode=1770")
        )
        for bad in ("", "type=x,target=/a", "type=bind,target=/a", "target=a", "foo=1,target=/a"):
            with pytest.raises(UsageError, match="invalid mount"):
                options.parse_mount(bad)

    def test_ulimits(self) -> None:
        assert options.parse_ulimit("nofile=1:2") == ("nofile", 1, 2)
        assert options.parse_ulimit("CORE=-1") == ("core", -1, -1)
        for bad in ("nofile", "nofile=", "=1", "x=2:1", "x=-1:5", "x=a"):
            with pytest.raises(UsageError):
                options.parse_ulimit(bad)
        with pytest.raises(UsageError, match="invalid ulimit type: files"):
            options.parse_ulimit("files=1")

    def test_environment_from_the_host(self) -> None:
        host = {"A": "1", "SECRET": "s"}
        assert options.env_from_host(["A", "B=2", "NONE", "E="], host) == ["A=1", "B=2", "E="]
        assert options.parse_env_file("# c\nA\n\n  B=x # y\n", host) == ["A=1", "B=x # y"]
        with pytest.raises(UsageError, match="line 2: invalid name 'a b'"):
            options.parse_env_file("x=1\na b=2", {})

    def test_security(self) -> None:
        assert options.parse_security_options(["no-new-privileges", "seccomp=unconfined"]) == {
            "no_new_privileges": True, "seccomp": "unconfined",
        }  # fmt: skip
        with pytest.raises(UsageError, match="unsupported security option"):
            options.parse_security_options(["apparmor=mine"])


class TestCgroups:
    def test_version_1(self) -> None:
        rows = cgroups.settings_v1(spec(resources=Resources(memory=10, pids=3))["linux"]["resources"])
        assert ("memory", "memory.limit_in_bytes", "10") in rows
        assert ("pids", "pids.max", "3") in rows
        devices = [(r.file, r.text) for r in rows if r.controller == "devices"]
        assert devices[0] == ("devices.deny", "a")
        assert ("devices.allow", "c 1:3 rwm") in devices
        assert ("devices.allow", "c 136:* rwm") in devices
        assert len(devices) == len(defaults.DEVICE_RULES) + 1

    def test_version_2(self) -> None:
        wanted = Resources(memory=10, memory_swap=30, nano_cpus=2_000_000_000, cpu_shares=1024, pids=3)
        rows = {r.file: r.text for r in cgroups.settings_v2(spec(resources=wanted)["linux"]["resources"])}
        assert rows == {
            "memory.max": "10", "memory.swap.max": "20", "cpu.weight": "39", "cpu.max": "200000 100000",
            "pids.max": "3",
        }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "number"),
    [("SIGTERM", 15), ("kill", 9), ("1", 1), ("SIGRTMIN+3", 37), ("rtmin", 34), ("RTMAX-2", 62), ("64", 64)],
)
def test_signals(text: str, number: int) -> None:
    assert signals.number(text) == number


@pytest.mark.parametrize(
    "text",
    ["", "0", "32", "65", "SIG", "SIGSIGTERM", "TERM+1", "RTMIN-1", "RTMAX+1", "RTMIN+31", "1_0", "\u0661"],
)
def test_signals_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="invalid signal"):
        signals.number(text)


def test_the_profile_says_each_call_once_or_with_conditions() -> None:
    profile = seccomp_default.profile(capabilities.DEFAULT, "x86_64")
    plain = [n for rule in profile["syscalls"] if "args" not in rule for n in rule["names"]]
    assert len(plain) == len(set(plain))
    allowed = {n for r in profile["syscalls"] if r["action"] == "SCMP_ACT_ALLOW" for n in r["names"]}
    assert {"chroot", "read", "execve"} <= allowed
    assert (
        not {"mount", "bpf", "setns", "kexec_load", "add_key", "open_by_handle_at", "io_uring_setup"}
        & allowed
    )


class TestDetachKeys:
    def test_the_default(self) -> None:
        keys = DetachKeys()
        assert keys.feed(b"ab\x10") == (b"ab", False)
        assert keys.feed(b"c") == (b"\x10c", False)
        assert keys.feed(b"\x10\x10\x11rest") == (b"\x10", True)

    def test_off(self) -> None:
        assert DetachKeys("").feed(b"\x10\x11") == (b"\x10\x11", False)

    @pytest.mark.parametrize(
        ("text", "keys"), [("ctrl-a", b"\x01"), ("a,b", b"ab"), ("ctrl-@,ctrl-]", b"\x00\x1d")]
    )
    def test_parse(self, text: str, keys: bytes) -> None:
        assert parse_keys(text) == keys

    @pytest.mark.parametrize("text", ["ctrl-", "ctrl-1", "ab", "a,,b"])
    def test_bad(self, text: str) -> None:
        with pytest.raises(UsageError, match="invalid detach keys"):
            parse_keys(text)

    @given(st.binary(max_size=30), st.integers(0, 30))
    def test_cutting_the_input_changes_nothing(self, data: bytes, at: int) -> None:
        whole = DetachKeys("a,a,b").feed(data)
        parts = DetachKeys("a,a,b")
        first, done = parts.feed(data[:at])
        second, done_too = (b"", True) if done else parts.feed(data[at:])
        assert (first + second, done or done_too) == whole

    @given(st.text("ab", max_size=12))
    def test_nothing_is_lost_before_the_sequence(self, typed: str) -> None:
        passed, done = DetachKeys("a,a,b").feed(typed.encode())
        before, found, _ = typed.partition("aab")
        assert done is bool(found)
        if done:
            assert passed.decode() == before
        else:
            assert typed.startswith(passed.decode())
            assert len(typed) - len(passed) <= 2
