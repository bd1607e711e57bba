"""What the course notes show of containers, row by row, with imagetool in Docker's place."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.imagetool.e2e.containers import BOX, FOREVER, column, fetched, monitor_of, traces
from tests.support.imagetool import PROGRAM, Cli
from tests.support.oci import Layout
from tests.support.process import wait_until
from tests.support.registry import Server, fill, free_port

pytestmark = pytest.mark.timeout(120)

ID = r"[0-9a-f]{64}"


def test_row_09_run_pulls_what_is_missing(cli: Cli) -> None:
    done = cli.run("run", "--rm", "--network", "none", "busybox", "echo", "Hello world")
    assert done.stdout == "Hello world\n"
    lines = done.stderr.splitlines()
    assert lines[:2] == [
        "Unable to find image 'busybox:latest' locally",
        "latest: Pulling from library/busybox",
    ]
    assert any(re.fullmatch(r"[0-9a-f]{12}: Pull complete", line) for line in lines)
    assert re.fullmatch(r"Digest: sha256:[0-9a-f]{64}", lines[-2])
    assert lines[-1] == "Status: Downloaded newer image for busybox:latest"
    again = cli.run("run", "--rm", "--network", "none", "busybox", "echo", "Hello world")
    assert (again.stdout, again.stderr) == ("Hello world\n", "")
    wait_until(lambda: traces(cli, []) == [], 10, "the end of all processes")


def test_row_14_an_image_in_use_is_not_removed(box: Cli) -> None:
    made = box("create", *BOX, "echo").strip()
    image = box("images", "-q").strip()
    assert box.error("rmi", "busybox") == (
        'Error: conflict: unable to remove repository reference "busybox" (must force) - '
        f"container {made[:12]} is using its referenced image {image}"
    )
    box("rm", made)
    assert "Untagged: busybox:latest" in box("rmi", "busybox")


def test_row_30_entrypoint_and_command(box: Cli, server: Server, tmp_path: Path) -> None:
    made = box("create", "--entrypoint", "echo", *BOX).strip()
    box("commit", "-c", 'ENTRYPOINT ["echo", "fixed"]', "-c", 'CMD ["default"]', made, "said")
    run = ("run", "--rm", "--network", "none")
    assert box(*run, "said") == "fixed default\n"
    assert box(*run, "said", "given", "words") == "fixed given words\n"
    assert box(*run, "--entrypoint", "cat", "said", "/etc/hostname") != ""
    assert "no command specified" in box.error(*run, "--entrypoint", "", "said")


def test_row_31_environment_ports_and_volumes(box: Cli) -> None:
    made = box("create", *BOX, "echo").strip()
    changes = ["ENV A=image B=image", "EXPOSE 80", "VOLUME /data"]
    box("commit", *[word for text in changes for word in ("-c", text)], made, "parent")
    box("rm", made)
    script = "echo $A $B; echo x > /data/f; cat /proc/self/mountinfo"
    out = box("run", "--name", "vv", "-e", "B=mine", "--network", "none", "parent", "sh", "-c", script)
    assert out.startswith("image mine\n")
    assert " /data " in out
    assert column(box, "Size", "-s").startswith("0B ")  # what is in a volume is not in the container
    assert box("container", "inspect", "-f", "{{json .Config.ExposedPorts}}", "vv").strip() == '{"80/tcp":{}}'
    (volume,) = os.listdir(box.root / "volumes")
    assert (box.root / "volumes" / volume / "f").read_text() == "x\n"
    box("rm", "-v", "vv")
    assert os.listdir(box.root / "volumes") == []


def test_row_32_options_of_run(box: Cli) -> None:
    made = box("run", "-d", "--name", "one", "-e", "A=1", *BOX, *FOREVER).strip()
    assert re.fullmatch(ID, made)
    assert box("exec", "-e", "B=2", "one", "sh", "-c", "echo $A $B") == "1 2\n"
    shown = box.error("run", "--name", "one", *BOX, "echo")
    assert f'The container name "/one" is already in use by container "{made}"' in shown
    for flags in ("-it", "-ti"):
        assert box.terminal("run", flags, "--rm", *BOX, "sh", "-c", "test -t 0 && echo yes") == "yes\n"
    assert box("run", "-i", "--rm", *BOX, "cat", text="typed\n") == "typed\n"
    assert box("ps", "-q").split() == [made[:12]]


def test_row_33_a_command_given_or_the_image_s_own(box: Cli) -> None:
    assert box("run", "--rm", *BOX, "/bin/echo", "Hello world") == "Hello world\n"
    assert box("run", "--rm", "-i", *BOX, text="echo from the shell\n") == "from the shell\n"


@pytest.mark.parametrize(
    ("command", "code", "text"),
    [
        ("python", 127, "Error: Container command 'python' not found or does not exist."),
        ("/tmp", 126, "Error: Container command '/tmp' could not be invoked."),
    ],
)
def test_row_34_a_missing_executable(box: Cli, command: str, code: int, text: str) -> None:
    assert box.error("run", "--rm", *BOX, command, "-V", code=code) == text
    assert box("ps", "-aq") == ""
    box.error("run", *BOX, command, code=code)
    assert column(box, "Status") == "Created"


def test_exit_codes_are_the_command_s(box: Cli) -> None:
    box("run", "--rm", *BOX, "sh", "-c", "exit 7", code=7)
    box("run", "--rm", *BOX, "sh", "-c", "sh -c 'kill -9 $$'; exit $?", code=137)
    box.error("run", "--rm", "--memory", "much", *BOX, "echo")
    assert "always set the Memory limit" in box.error("run", "--rm", "--memory-swap", "9m", *BOX, "echo")
    shown = box.error("run", "--rm", "--memory-swap", "9m", "-m", "10m", *BOX, "echo")
    assert "Minimum memoryswap limit should be larger than memory limit" in shown
    assert "Minimum memory limit allowed is 6MB" in box.error("run", "--rm", "--memory", "5m", *BOX, "echo")
    assert box.error("run", "--env-file", "none", *BOX, "echo").endswith("none: No such file or directory")


def test_row_35_ps(box: Cli) -> None:
    made = box("run", "-d", *BOX, *FOREVER).strip()
    head, row = box("ps").splitlines()
    assert head.split("  ")[0] == "CONTAINER ID"
    assert re.split(r"\s{2,}", head) == [
        "CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES",
    ]  # fmt: skip
    pattern = rf'{made[:12]}   busybox   "sh -c trap \'exit 0\'…"   .+ ago +Up .+ {{3,}}[a-z]+_[a-z]+'
    assert re.fullmatch(pattern, row), row
    assert head.index("NAMES") == row.rindex(" ") + 1


def test_row_36_ps_with_sizes(box: Cli) -> None:
    image = box("images", "--format", "{{.Size}}").strip()
    box("run", "--name", "contenedor1", *BOX, "sh", "-c", "echo -n 12345 > /file.txt")
    head, row = box("ps", "-a", "-s").splitlines()
    assert head.endswith("NAMES         SIZE")
    assert row.endswith(f"contenedor1   5B (virtual {image})")
    assert re.search(r"   Exited \(0\) .+ ago +contenedor1 ", row)
    assert len(box("ps").splitlines()) == 1


def test_row_37_start_prints_the_name_and_attach_sees_what_comes(box: Cli) -> None:
    box("create", "-i", "--name", "shell", *BOX, "sh")
    assert box("start", "shell") == "shell\n"
    assert box("start", "shell") == "shell\n"
    assert box("attach", "shell", text="echo here; exit 4\n", code=4) == "here\n"
    assert box("start", "-ai", "shell", text="echo again\n") == "again\n"
    assert box.error("attach", "shell") == ("Error: You cannot attach to a stopped container, start it first")


def test_row_38_the_hostname_is_the_short_id(box: Cli) -> None:
    assert box("run", "--name", "hh", *BOX, "cat", "/etc/hostname").strip() == column(box, "ID")
    assert box("run", "--rm", "-h", "web", *BOX, "busybox", "hostname") == "web\n"


def test_row_39_commit_of_a_running_container(box: Cli) -> None:
    box("run", "-d", "--name", "work", *BOX, "sh", "-c", f"echo new > /n; busybox rm /bin/ls; {FOREVER[2]}")
    wait_until(lambda: "D /bin/ls" in box("diff", "work"), 20, "the change")
    made = box("commit", "-a", "me", "-m", "by hand", "work").strip()
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", made)
    assert re.search(rf"<none>\s+<none>\s+{made[7:19]}", box("images"))
    box("tag", made[7:19], "python-manual")
    run = ("run", "--rm", "--network", "none", "python-manual", "sh", "-c")
    assert box(*run, "cat /n; echo /bin/*") == "new\n/bin/busybox /bin/cat /bin/echo /bin/sh\n"
    assert box("inspect", "-f", "{{.Author}} {{.Comment}}", "python-manual") == "me by hand\n"
    assert column(box, "State") == "running"


def test_row_40_cp_and_the_size_that_grows(box: Cli, tmp_path: Path) -> None:
    (tmp_path / "info.php").write_text("<?php echo phpinfo();\n")
    box("create", "--name", "cc", *BOX, "cat", "/tmp/info.php")
    assert column(box, "Size", "-s").startswith("0B (virtual")
    box("cp", tmp_path / "info.php", "cc:/tmp")
    assert column(box, "Size", "-s").startswith("22B (virtual")
    assert box("start", "-a", "cc") == "<?php echo phpinfo();\n"
    box("cp", "cc:/tmp/info.php", tmp_path / "back")
    assert (tmp_path / "back").read_text() == "<?php echo phpinfo();\n"
    assert "No such file" in box.error("cp", "cc:/nowhere", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_link_in_a_container_leads_cp_nowhere_else(box: Cli, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "secret").write_text("secret")
    script = f"busybox ln -s {outside} /tmp/way; busybox ln -s {tmp_path}/secret /tmp/leak"
    box("run", "--name", "bad", *BOX, "sh", "-c", script)
    box("cp", tmp_path / "secret", "bad:/tmp/way/planted", code=125)
    assert os.listdir(outside) == []
    box("cp", "bad:/tmp/leak", tmp_path / "copy")
    assert (tmp_path / "copy").is_symlink()  # the link itself, as in Docker


def test_row_41_three_web_servers_on_port_80(box: Cli, server: Server, tmp_path: Path) -> None:
    ports = [free_port() for _ in range(3)]
    for number, port in enumerate(ports):
        serve = f"busybox mkdir /w; echo version {number} > /w/index.html; exec busybox httpd -f -p 80 -h /w"
        box("run", "-d", "--name", f"web{number}", "-p", f"{port}:80", "busybox", "sh", "-c", serve)
    for number, port in enumerate(ports):
        assert fetched(port) == f"version {number}\n"
    assert f"0.0.0.0:{ports[1]}->80/tcp" in box("ps", "--filter", "name=web1")
    assert box("port", "web2", "80") == f"0.0.0.0:{ports[2]}\n"
    shown = "{{range .NetworkSettings.Networks}}{{.IPAddress}}/{{.IPPrefixLen}} {{.Gateway}}{{end}}"
    assert re.fullmatch(r"10\.213\.0\.\d+/16 10\.213\.0\.1\n", box("inspect", "-f", shown, "web0"))
    shown = '{{(index (index .HostConfig.PortBindings "80/tcp") 0).HostPort}}'
    assert box("inspect", "-f", shown, "web0") == f"{ports[0]}\n"
    shown = box.error("run", "--rm", "-p", f"{ports[0]}:80", "busybox", "echo")
    assert f"port 0.0.0.0:{ports[0]}/tcp is already allocated" in shown


def test_row_42_changes_stay_with_the_container(box: Cli, server: Server, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "oci")
    files = [{"a": b"1", "b": b"2", "c": b"3"}, {"d": b"4", "e": b"5", "f": b"6"}]
    lowest = Path(box("inspect", "-f", "{{.GraphDriver.Data.LowerDir}}", "busybox").strip())
    layout.tag(
        "six", layout.image([lowest.read_bytes(), *({f"w/{n}": d for n, d in f.items()} for f in files)])
    )
    fill(server, layout.root, "six", "library/six:latest")
    image = ("--network", "none", "six")
    assert box("run", "--rm", "--pull", "always", *image, "ls", "/w") == "a\nb\nc\nd\ne\nf\n"
    script = "cat /w/a; echo more >> /w/a; busybox rm -f /w/b; ls /w | busybox wc -l"
    assert box("run", "--name", "rw", *image, "sh", "-c", script) == "15\n"
    assert box("start", "-a", "rw") == "1more\n5\n"  # it outlives stop and start
    assert box("diff", "rw") == "C /w\nC /w/a\nD /w/b\n"
    assert box("run", "--rm", *image, "sh", "-c", "cat /w/a /w/b") == "12"  # never reaches the image
    box("rm", "rw")
    assert box("run", "--rm", *image, "ls", "/w") == "a\nb\nc\nd\ne\nf\n"


def test_mount_points_leave_nothing_in_the_rw_layer(box: Cli, tmp_path: Path) -> None:
    script = "test -d /proc/1 && test -c /dev/null && cat /x/f"
    (tmp_path / "f").write_text("bound\n")
    out = box("run", "--name", "mm", "-v", f"{tmp_path}:/x:ro", "--tmpfs", "/t", *BOX, "sh", "-c", script)
    assert out == "bound\n"
    (directory,) = (box.root / "containers").iterdir()
    assert [name for _, folders, files in os.walk(directory / "top/upper") for name in folders + files] == []
    assert box("diff", "mm") == ""


def test_stop_sends_the_signal_and_then_kills(box: Cli) -> None:
    box("run", "-d", "--name", "good", *BOX, *FOREVER)
    box("run", "-d", "--name", "deaf", *BOX, "sh", "-c", "trap '' TERM; while :; do busybox sleep 0.1; done")
    time.sleep(0.3)  # the traps are set
    assert box("stop", "-t", "10", "good") == "good\n"
    assert box("stop", "-t", "0", "deaf") == "deaf\n"
    states = box("ps", "-a", "--format", "{{.Names}} {{.Status}}")
    assert "good Exited (0)" in states
    assert "deaf Exited (137)" in states
    assert box("restart", "good") == "good\n"
    assert box.error("rm", "good").startswith("Error: cannot remove container good: container is running")
    assert box("kill", "good") == "good\n"
    assert box("wait", "good") == "137\n"


def test_logs_keep_both_streams_and_their_lines(box: Cli) -> None:
    script = "echo one; echo two >&2; echo -n end"
    box("run", "--name", "ll", *BOX, "sh", "-c", script)
    done = box.run("logs", "ll")
    assert (done.stdout, done.stderr) == ("one\nend", "two\n")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\S+Z end", box("logs", "-t", "--tail", "1", "ll"))
    box("run", "-d", "--name", "ff", *BOX, "sh", "-c", "echo first; busybox sleep 0.5; echo last")
    assert box("logs", "-f", "ff") == "first\nlast\n"


def test_a_lot_of_output_comes_whole(box: Cli) -> None:
    done = subprocess.run(
        [*PROGRAM, "run", "--rm", *BOX, "busybox", "seq", "200000"],
        capture_output=True, text=True, env=box.env, timeout=60,
    )  # fmt: skip
    assert done.stdout == "".join(f"{n}\n" for n in range(1, 200_001))


def test_a_restart_policy_tries_so_often(box: Cli) -> None:
    box("run", "--name", "rr", "--restart", "on-failure:2", *BOX, "sh", "-c", "echo try; exit 3", code=3)
    assert box("logs", "rr") == "try\n" * 3
    assert box("container", "inspect", "-f", "{{.RestartCount}}", "rr") == "2\n"


def test_the_state_is_true_after_a_killed_monitor(box: Cli) -> None:
    box("run", "-d", "--name", "kk", *BOX, *FOREVER)
    os.kill(monitor_of(box), signal.SIGKILL)
    assert column(box, "State") == "running"  # it does run
    pid = int(box("container", "inspect", "-f", "{{.State.Pid}}", "kk"))
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: column(box, "State") == "exited", 10, "the end")
    assert column(box, "Status") == "Exited (255)"  # nobody saw how it ended
    assert box("start", "kk") == "kk\n"
    assert column(box, "State") == "running"
    os.kill(monitor_of(box), signal.SIGKILL)
    assert box("rm", "-f", "kk") == "kk\n"


def test_twenty_at_once(box: Cli) -> None:
    made = [
        subprocess.Popen(
            [*PROGRAM, "run", "--rm", *BOX, "echo", str(number)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=box.env,
        )
        for number in range(20)
    ]  # fmt: skip
    assert [each.communicate(timeout=100)[0] for each in made] == [f"{number}\n" for number in range(20)]
    assert box("ps", "-aq") == ""


def test_top_shows_the_container_s_processes_only(box: Cli) -> None:
    box("run", "-d", "--name", "tt", *BOX, "busybox", "sleep", "60")
    head, row = box("top", "tt").splitlines()
    assert head.split() == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    assert row.endswith("busybox sleep 60")
    box("kill", "tt")
    assert "is not running" in box.error("top", "tt")


def test_rename_and_names_that_are_taken(box: Cli) -> None:
    made = [box("create", "--name", name, *BOX, "echo").strip() for name in ("xx", "yy")]
    assert f'already in use by container "{made[1]}"' in box.error("rename", "xx", "yy")
    box("rename", "xx", "zz")
    assert sorted(box("ps", "-a", "--format", "{{.Names}}").split()) == ["yy", "zz"]
    assert "No such container: xx" in box.error("start", "xx")
