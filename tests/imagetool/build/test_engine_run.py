"""RUN for real: forms, mounts, networks, rights, failures; and what must not get out of, or into, a build."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.imagetool.build.kit import NO_NETWORK, Builder
from tests.support.process import wait_until

pytestmark = pytest.mark.timeout(120)

SLEEP = 1000 + os.getpid()
"""Seconds that nobody else sleeps for: several runs of the tests may share a machine."""


def test_shell_exec_and_documents(box: Builder) -> None:
    text = r"""
FROM busybox
ENV A=value
RUN echo "$A" > /shell
RUN ["/bin/busybox", "touch", "/exec $A"]
SHELL ["/bin/busybox", "sh", "-c"]
RUN echo $0 $- > /other
RUN <<EOF
echo one $A
echo two > /document
EOF
RUN <<-'EOF' busybox cat > /piped
	not $A
	EOF
RUN <<SCRIPT
#!/bin/busybox sh
echo "$0" > /script
SCRIPT
RUN cat <<A <<B > /both
a
A
b
B
"""
    made = box.image(text)
    assert box.content(made, "shell") == b"value\n"
    assert "exec $A" in box.files(made)
    assert box.content(made, "document") == b"two\n"
    assert box.content(made, "piped") == b"not $A\n"
    assert box.content(made, "script") == b"/dev/pipes/SCRIPT\n"
    assert box.content(made, "both") == b"b\n"
    assert "dev/pipes" not in box.files(made)


def test_who_runs_where_and_with_what(box: Builder) -> None:
    text = """
    FROM busybox
    RUN echo 'me:x:7:8::/home/me:/bin/sh' >> /etc/passwd; busybox chmod 777 /
    ENV MINE=1
    WORKDIR /tmp
    USER me
    RUN busybox env | busybox sort > /env; busybox id -u > /id; busybox pwd > /pwd; busybox hostname >> /pwd
    """
    made = box.image(text, SECRET_OF_THE_HOST="x")
    rows = dict(row.partition("=")[::2] for row in box.content(made, "env").decode().splitlines())
    assert rows.keys() <= {"HOME", "HOSTNAME", "MINE", "PATH", "PWD", "SHLVL"}
    assert (rows["HOME"], rows["MINE"]) == ("/home/me", "1")
    assert (box.content(made, "id"), box.content(made, "pwd")) == (b"7\n", b"/tmp\nbuild\n")


def test_nothing_of_the_container_stays_in_the_layer(box: Builder) -> None:
    made = box.image("FROM busybox\nRUN busybox df > /df; echo > /dev/null; busybox touch /dev/shm/x /run.x")
    assert box.layers(made)[1:] == [["df", "run.x"]]


def test_a_failure_says_where_and_leaves_no_image(box: Builder) -> None:
    done = box.build("FROM busybox\nRUN echo fine\nRUN echo said; \\\n exit 42\n", "-t", "half", code=42)
    assert done.stderr.splitlines() == [
        f"Error: {box.folder}/Dockerfile:3: The command '/bin/sh -c echo said;  exit 42' "
        "returned a non-zero code: 42"
    ]
    assert "said\n" in done.stdout
    assert len(box("images", "-aq").split()) == 1
    quiet = box.build("FROM busybox\nRUN echo why; false", "-q", code=1)
    assert quiet.stdout == ""
    assert quiet.stderr.splitlines()[0] == "why"


@pytest.mark.parametrize(
    ("command", "code"),
    [('["/nowhere"]', 127), ('["/tmp"]', 126), ("exit 3", 3), ("sh -c 'kill -9 $$'; exit $?", 137)],
)
def test_the_status_is_the_command_s(box: Builder, command: str, code: int) -> None:
    assert "Dockerfile:2: " in box.build(f"FROM busybox\nRUN {command}", code=code).stderr


def test_mistakes_have_file_line_and_caret(box: Builder) -> None:
    done = box.build("FROM busybox\nRUM x", code=125)
    assert done.stderr.splitlines() == [
        f"Error: {box.folder}/Dockerfile:2:1: unknown instruction: RUM", "   2 | RUM x", "     | ^^^^^"[:8],
    ] or "^" in done.stderr.splitlines()[2]  # fmt: skip
    for text, said in {
        "COPY nothing /": "nothing",
        "USER nobody\nRUN true": "unable to find user nobody",
        "EXPOSE 70000": "invalid port '70000'",
        "STOPSIGNAL NONE": "invalid signal 'NONE'",
        "COPY --from=2 a b": "invalid stage index 2",
        "ENV A=${B:?is needed}": "is needed",
        "RUN --mount=type=secret,id=x,required=true true": "secret x is required",
        "RUN --mount=type=bind,source=../..,target=/x true": "leads out of its directory",
        "RUN --mount=type=tmpfs,target=/ true": "it is the root",
        "RUN --network=host true": "build with --allow network.host",
        "RUN --security=insecure true": "build with --allow security.insecure",
    }.items():
        done = box.build(f"FROM busybox\n{text}", code=125)
        assert said in done.stderr, done.stderr
        assert f"Dockerfile:{text.count(chr(10)) + 2}" in done.stderr


def test_a_shell_in_the_failed_container(box: Builder) -> None:
    (box.folder / "Dockerfile").write_text("FROM busybox\nENV A=b\nRUN echo left > /left; exit 9")
    words = ("build", "-f", box.folder / "Dockerfile", *NO_NETWORK, "--debug-shell", box.context)
    done = box.run(*words, text="cat /left; echo $A; exit 5\n", code=9)
    assert done.stdout.splitlines()[-2:] == ["left", "b"]
    shown = box.terminal(*words[:-1], str(box.context), typed="")
    assert "This shell is in its container" in shown


def test_a_cache_is_kept_from_build_to_build(box: Builder) -> None:
    text = "FROM busybox\nRUN --mount=type=cache,target=/c,uid=3,mode=700 {} busybox stat -c %u:%a /c > /s; ls /c"
    first = box.image(text.format("echo 1 > /c/one;"))
    done = box.build(text.format("echo 2 > /c/two;"))
    assert "one\ntwo\n" in done.stdout
    assert box.content(first, "s") == b"3:700\n"
    assert "c" not in box.files(first)
    box("builder", "prune", "-a", "-f")
    assert "one" not in box.build(text.format("")).stdout


def test_caches_locked_and_private(box: Builder) -> None:
    """Of two builds at once, the locked one waits, the private ones do not meet."""
    busy = "n=0; busybox mkdir /c/busy || exit 1; busybox sleep 0.5; busybox rmdir /c/busy"
    for sharing in ("locked", "private"):
        mount = f"--mount=type=cache,target=/c,id={sharing},sharing={sharing}"
        builds = [box.start(f"FROM busybox\nRUN {mount} {busy}; : {n}", name=f"f{n}") for n in range(3)]
        said = [each.communicate(timeout=60)[0] for each in builds]
        assert [each.returncode for each in builds] == [0, 0, 0], said


def test_the_id_of_a_cache_is_a_name(box: Builder) -> None:
    outside = box.folder / "outside"
    outside.mkdir()
    for name in ("../../../outside", str(outside), "..", "a/../../b"):
        box.build(f"FROM busybox\nRUN --mount=type=cache,target=/c,id={name} echo x > /c/planted")
    assert os.listdir(outside) == []
    names = os.listdir(box.root / "build/caches")
    assert len([name for name in names if re.fullmatch("[0-9a-f]{32}", name)]) == 4


def test_binds_of_the_context_stages_and_images(box: Builder) -> None:
    box.write({"d/f": "context", "secret": "no", ".dockerignore": "secret"})
    text = """
    FROM busybox AS made
    RUN echo stage > /f
    FROM busybox
    RUN --mount=type=bind,target=/c cat /c/d/f; ls /c; echo x > /c/new || echo refused
    RUN --mount=type=bind,source=d,target=rel,rw echo x > rel/new; ls rel
    RUN --mount=type=bind,from=made,target=/s cat /s/f
    RUN --mount=type=bind,from=busybox,source=/bin/busybox,target=/b/busybox /b/busybox echo from the image
    """
    done = box.build(text, "-t", "bound")
    for said in ("contextd\n", "\nrefused\n", "\nf\nnew\n", "stage\n", "from the image\n"):
        assert said in done.stdout, done.stdout
    assert not (box.context / "d/new").exists()
    assert len(box.layers("bound")) == 1
    box.write({"d/f": "changed"})
    assert box.build(text).stdout.count("Using cache") == 3  # the two binds of the context look again


def test_a_link_in_a_bind_s_source_leads_nowhere_else(box: Builder) -> None:
    (box.folder / "outside").write_text("host")
    os.symlink(box.folder / "outside", box.context / "link")
    os.symlink("/", box.context / "root")
    text = "FROM busybox\nRUN --mount=type=bind,source={},target=/m cat /m* || true"
    assert "host" not in box.build(text.format("link"), code=125).stdout
    done = box.build(
        f"FROM busybox\nRUN --mount=type=bind,source=root,target=/m cat /m{box.folder}/outside || true"
    )
    assert "host" not in done.stdout


def test_a_tmpfs_is_gone_afterwards(box: Builder) -> None:
    text = "FROM busybox\nRUN --mount=type=tmpfs,target=/t,size=64k busybox df -k /t; echo x > /t/x"
    done = box.build(text, "-t", "made")
    assert re.search(r"none +64 ", done.stdout)
    assert len(box.layers("made")) == 1


def test_secrets_are_seen_by_the_command_alone(box: Builder) -> None:
    (box.folder / "key").write_text("hidden-word")
    text = """
    FROM busybox
    RUN --mount=type=secret,id=key busybox wc -c < /run/secrets/key; busybox stat -c %a:%u /run/secrets/key
    RUN --mount=type=secret,id=key,target=/own,mode=444,uid=5 busybox stat -c %a:%u /own
    RUN --mount=type=secret,id=var,env=WORD test $(echo -n $WORD | busybox wc -c) = 17
    RUN --mount=type=secret,id=missing ls /run/secrets || echo without
    """
    secrets = ("--secret", f"id=key,src={box.folder}/key", "--secret", "id=var,env=THE_WORD")
    done = box.build(text, *secrets, "-t", "made", THE_WORD="from-the-variable")
    for said in ("11\n400:0\n", "444:5\n", "without\n"):
        assert said in done.stdout
    assert len(box.layers("made")) == 1
    for word in (b"hidden-word", b"from-the-variable"):
        stored = [path for path in box.root.rglob("*") if path.is_file() and word in path.read_bytes()]
        assert stored == []


def test_an_agent_answers_in_the_build(box: Builder) -> None:
    path = str(box.folder / "agent")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()

    def answer() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                client.sendall(b"agent says " + client.recv(100))
                client.close()

    threading.Thread(target=answer, daemon=True).start()
    text = """
    FROM busybox
    RUN --mount=type=ssh,uid=7,mode=600 busybox stat -c %u:%a "$SSH_AUTH_SOCK"; \
        echo hello | busybox nc local:$SSH_AUTH_SOCK
    """
    done = box.build(text, "--ssh", "default", SSH_AUTH_SOCK=path, code=0 if has_local_nc() else 1)
    listener.close()
    assert "7:600" in done.stdout
    if has_local_nc():
        assert "agent says hello" in done.stdout
    assert "is not a socket" in box.build(text, "--ssh", f"default={box.folder}", code=125).stderr


def has_local_nc() -> bool:
    """Whether this busybox connects to Unix sockets."""
    return b"local:" in Path("/bin/busybox").read_bytes()


def test_networks(box: Builder) -> None:
    text = "FROM busybox\nRUN {} busybox ls -1 /sys/class/net | busybox sed 's/^/ /'"
    assert links(box.build(text.format("")).stdout) == [" lo"]
    done = box.build(text.format("--network=host"), "--allow", "network.host")
    assert len(links(done.stdout)) == len(os.listdir("/sys/class/net"))
    done = box.build(text.format("--network=none"), "--network", "host", "--no-cache")
    assert links(done.stdout) == [" lo"]
    done = box.build(text.format("--network=default"), "--network", "default")
    assert links(done.stdout) == [" eth0", " lo"]


def links(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith(" ") and not line.startswith(" --->")]


def test_rights_are_docker_s_unless_more_is_allowed(box: Builder) -> None:
    text = "FROM busybox\nRUN {} busybox grep CapEff /proc/self/status; busybox mount -t tmpfs x /tmp && echo mounted"
    done = box.build(text.format(""), code=1)
    assert "CapEff:\t00000000a80425fb" in done.stdout
    done = box.build(text.format("--security=insecure"), "--allow", "security.insecure")
    assert "mounted" in done.stdout


def test_devices_of_the_host_are_out_of_reach(box: Builder) -> None:
    """Nodes can be made, as in Docker, and end in the layer; opened they cannot be."""
    text = """
    FROM busybox
    RUN for d in /node /dev/node /tmp/node; do busybox mknod $d b 7 0; busybox head -c1 $d && echo read; done; true
    """
    done = box.build(text, "-t", "made")
    assert "read" not in done.stdout.splitlines()
    assert box.files("made")["node"].isblk()


def test_links_in_the_image_lead_no_step_outside(box: Builder) -> None:
    outside = box.folder / "outside"
    outside.mkdir()
    box.write({"f": "planted"})
    text = f"""
    FROM busybox
    RUN busybox ln -s {outside} /way; busybox ln -s ../../../../../../../..{outside} /up
    COPY f /way/f
    COPY f /up/g
    WORKDIR /way/w
    RUN echo planted > h
    RUN --mount=type=cache,target=/way/c echo planted > /way/c/i
    """
    made = box.image(text)
    assert os.listdir(outside) == []
    assert f"{str(outside)[1:]}/w/h" in box.files(made)


def test_accounts_of_the_image_cannot_be_those_of_the_host(box: Builder) -> None:
    """A link for /etc/passwd is followed within the image: what is outside is no account file."""
    text = "FROM busybox\nRUN busybox mkdir -p /etc; busybox ln -sf /nowhere/passwd /etc/passwd\nUSER daemon\nRUN true"
    assert "unable to find user daemon" in box.build(text, code=125).stderr


def test_a_killed_build_leaves_nothing(box: Builder) -> None:
    build = box.start(f"FROM busybox\nRUN echo started; busybox sleep {SLEEP}")
    has_started(build)
    assert len(box.processes()) > 1
    os.kill(build.pid, signal.SIGKILL)
    build.wait()
    wait_until(lambda: box.processes() == [], 10, "the end of its processes")
    assert not [pid for pid in sleepers() if pid]
    assert box.image("FROM busybox\nRUN echo next")
    box("system", "prune", "-f")
    assert os.listdir(box.root / "tmp") == []


def has_started(build: subprocess.Popen[str]) -> None:
    assert build.stdout
    line = " "
    while line and line != "started\n":
        line = build.stdout.readline()
    assert line, "it ended early"


def sleepers() -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and f"sleep\0{SLEEP}\0".encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def test_an_interrupted_build_ends_at_once(box: Builder) -> None:
    text = f"FROM busybox AS a\nRUN echo started; busybox sleep {SLEEP}\nFROM busybox AS b\nRUN busybox sleep {SLEEP}\n"
    build = box.start(text + "FROM a\nCOPY --from=b / /b\n", "-t", "never")
    has_started(build)
    time.sleep(0.5)
    build.send_signal(signal.SIGINT)
    build.communicate(timeout=20)
    assert build.returncode == 130
    assert sleepers() == []
    assert "never" not in box("images")


def test_the_first_failure_ends_the_other_stages(box: Builder) -> None:
    text = f"FROM busybox AS a\nRUN busybox sleep {SLEEP}\nFROM busybox AS b\nRUN busybox sleep 0.5; exit 6\n"
    done = box.build(text + "FROM a\nCOPY --from=b / /b\n", code=6)
    assert "Dockerfile:4: The command" in done.stderr
    assert sleepers() == []


@pytest.mark.parametrize("top", ["overlay", "fuse"])
def test_places_for_mounts_leave_no_trace_where_the_image_has_none(box: Builder, top: str) -> None:
    """The image has deleted /etc, and has a link where a mount is to be."""
    text = """
    FROM busybox
    RUN busybox mkdir -p /etc /real; echo x > /etc/x; busybox ln -s real /link
    FROM busybox
    COPY --from=0 /etc /etc
    RUN busybox ln -s /real /link; busybox mkdir /real
    RUN busybox umount /etc/hosts /etc/hostname /etc/resolv.conf 2>/dev/null; busybox rm -rf /etc; true
    RUN --mount=type=cache,target=/link/cache true
    """
    made = box.image(text, "--top", top)
    named = {name for layer in box.layers(made) for name in layer}
    assert not {"real/cache", "etc/hosts", "etc/resolv.conf", "dev", "proc", "sys"} & named
    assert "etc/x" not in box.files(made)
