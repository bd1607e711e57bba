"""Builds for real: what each instruction leaves in the config, the history and the layers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.imagetool.build.kit import Builder, steps

pytestmark = pytest.mark.timeout(120)

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

SETTINGS = r"""
ARG BASE=busybox
FROM ${BASE}
ARG V=1
ARG W
ENV A=$V B="two words" C='$A'
ENV OLD form of a value
LABEL one="1 2" $A=x
EXPOSE 80 53/UDP 8000-8001/tcp
VOLUME ["/v", "/w/$A"]
USER 7:8
SHELL ["/bin/sh", "-ec"]
CMD echo $A
ENTRYPOINT ["/bin/echo", "$A"]
STOPSIGNAL SIGUSR1
HEALTHCHECK --interval=1m30s --retries=3 CMD exit 0
ONBUILD RUN echo "$A"
MAINTAINER somebody <s@example.org>
"""


def test_settings_of_the_image(box: Builder) -> None:
    config = box.config(box.image(SETTINGS))
    assert config["Author"] == "somebody <s@example.org>"
    assert config["Config"] == {
        "User": "7:8",
        "ExposedPorts": {"53/udp": {}, "80/tcp": {}, "8000/tcp": {}, "8001/tcp": {}},
        "Env": [PATH, "A=1", "B=two words", "C=$A", "OLD=form of a value"],
        "Entrypoint": ["/bin/echo", "$A"],
        "Cmd": ["/bin/sh", "-ec", "echo $A"],
        "Healthcheck": {"Test": ["CMD-SHELL", "exit 0"], "Interval": 90 * 10**9, "Retries": 3},
        "Volumes": {"/v": {}, "/w/1": {}},
        "WorkingDir": "",
        "Labels": {"one": "1 2", "1": "x"},
        "StopSignal": "SIGUSR1",
        "OnBuild": ['RUN echo "$A"'],
        "Shell": ["/bin/sh", "-ec"],
    }


def test_the_history_is_docker_s(box: Builder) -> None:
    made = box.image(SETTINGS)
    assert box.history(made)[1:] == [
        "/bin/sh -c #(nop)  ARG V=1",
        "/bin/sh -c #(nop)  ARG W",
        "/bin/sh -c #(nop)  ENV A=1 B=two words C=$A",
        "/bin/sh -c #(nop)  ENV OLD=form of a value",
        "/bin/sh -c #(nop)  LABEL one=1 2 1=x",
        "/bin/sh -c #(nop)  EXPOSE 80/tcp 53/udp 8000/tcp 8001/tcp",
        "/bin/sh -c #(nop)  VOLUME [/v /w/1]",
        "/bin/sh -c #(nop)  USER 7:8",
        '/bin/sh -ec #(nop)  SHELL ["/bin/sh" "-ec"]',
        '/bin/sh -ec #(nop)  CMD ["/bin/sh" "-ec" "echo $A"]',
        '/bin/sh -ec #(nop)  ENTRYPOINT ["/bin/echo" "$A"]',
        "/bin/sh -ec #(nop)  STOPSIGNAL SIGUSR1",
        '/bin/sh -ec #(nop)  HEALTHCHECK ["CMD-SHELL" "exit 0"]',
        '/bin/sh -ec #(nop)  ONBUILD RUN echo "$A"',
        "/bin/sh -ec #(nop)  MAINTAINER somebody <s@example.org>",
    ]
    assert len(box.layers(made)) == 1  # none of it is a layer


def test_an_entrypoint_drops_the_command_of_the_base_only(box: Builder) -> None:
    made = box.image('FROM busybox\nENTRYPOINT ["/bin/echo"]')
    assert box.config(made)["Config"].get("Cmd") is None
    made = box.image('FROM busybox\nCMD ["a"]\nENTRYPOINT ["/bin/echo"]')
    assert box.config(made)["Config"]["Cmd"] == ["a"]


def test_arguments_and_their_scopes(box: Builder) -> None:
    text = """
    ARG GLOBAL=g
    FROM busybox AS one
    RUN echo "[$GLOBAL]" > /before
    ARG GLOBAL
    ARG OWN=own
    ARG LATER=$OWN-$GLOBAL
    RUN echo $GLOBAL $OWN $LATER $TARGETARCH > /after
    ARG TARGETARCH
    RUN echo $TARGETARCH > /arch
    FROM one
    RUN echo "[$OWN]" > /upon
    FROM busybox
    COPY --from=1 / /
    RUN echo "[$OWN]" > /stage
    """
    made = box.image(text, "--build-arg", "OWN=given")
    assert box.content(made, "before") == b"[]\n"
    assert box.content(made, "after") == b"g given given-g\n"
    assert box.content(made, "arch") in (b"amd64\n", b"arm64\n")
    assert box.content(made, "upon") == b"[given]\n"
    assert box.content(made, "stage") == b"[]\n"
    made = box.image(text, "--build-arg", "OWN=given", "--target", "one")
    assert "|3 GLOBAL=g LATER=given-g OWN=given /bin/sh -c echo $GLOBAL $OWN $LATER $TARGETARCH > /after" in (
        box.history(made)
    )


def test_an_argument_that_nobody_asks_for_is_named(box: Builder) -> None:
    done = box.build("FROM busybox", "--build-arg", "NOBODY=1")
    assert "[Warning] One or more build-args ['NOBODY'] were not consumed" in done.stdout


def test_layers_hold_what_the_step_changed_and_nothing_else(box: Builder) -> None:
    box.write({"src/a": "a", "src/b": "b"})
    text = """
    FROM busybox
    COPY src /srv/data/
    RUN busybox rm /srv/data/a; echo new > /srv/new
    WORKDIR /srv/deep
    RUN true
    RUN busybox mkdir /empty
    """
    made = box.image(text)
    assert box.layers(made)[1:] == [
        ["srv", "srv/data", "srv/data/a", "srv/data/b"],
        ["srv", "srv/data", "srv/data/.wh.a", "srv/new"],
        ["srv", "srv/deep"],
        ["empty"],
    ]
    empty = [row["empty_layer"] for row in history(box, made)]
    assert empty == [False, False, False, False, True, False]


def history(box: Builder, image: str) -> list[dict[str, bool]]:
    """The history of the config, as it is stored."""
    path = box.root / "blobs" / image.replace(":", "/")
    return [{"empty_layer": bool(row.get("empty_layer"))} for row in json.loads(path.read_bytes())["history"]]


def test_workdir_is_relative_made_and_the_user_s(box: Builder) -> None:
    text = "FROM busybox\nWORKDIR /a\nWORKDIR b/../c\nUSER 5:6\nWORKDIR d\nRUN busybox pwd > /tmp/w\nWORKDIR /tmp"
    made = box.image(text)
    files = box.files(made)
    assert box.config(made)["Config"]["WorkingDir"] == "/tmp"
    assert box.content(made, "tmp/w") == b"/a/c/d\n"
    assert [(files[name].uid, files[name].gid) for name in ("a", "a/c", "a/c/d")] == [(0, 0), (0, 0), (5, 6)]
    assert "a/b" not in files
    assert oct(files["tmp"].mode) == "0o1777"


def test_a_working_directory_that_is_a_file(box: Builder) -> None:
    done = box.build("FROM busybox\nWORKDIR /bin/busybox/x", code=125)
    assert done.stderr.startswith("Error: ")
    assert "/bin/busybox is not a directory" in done.stderr or "Not a directory" in done.stderr


def test_stages_and_what_is_copied_between_them(box: Builder) -> None:
    box.write({"f": "from the context"})
    text = """
    FROM busybox AS first
    RUN busybox mkdir -p /out/sub; echo 1 > /out/sub/f; busybox chown -R 3:4 /out; busybox ln -s sub /out/link
    FROM busybox AS unused
    RUN false
    FROM scratch
    COPY --from=first /out /copied
    COPY --from=0 --chown=9 /out/sub/f /owned
    COPY --from=busybox /bin/sh /bin/busybox /b/
    COPY f /f
    """
    made = box.image(text)
    files = box.files(made)
    assert sorted(files) == [
        "b", "b/busybox", "b/sh", "copied", "copied/link", "copied/sub", "copied/sub/f", "f", "owned",
    ]  # fmt: skip
    assert files["copied/sub/f"].uid == 3
    assert (files["owned"].uid, files["owned"].gid) == (9, 9)
    assert box.config(made)["Config"]["Env"] == [PATH]


def test_a_target_is_the_image(box: Builder) -> None:
    text = "FROM busybox AS a\nLABEL is=a\nFROM busybox AS b\nRUN false"
    made = box.image(text, "--target", "a", "--label", "more=it's $x", "--label", "is=mine")
    assert box.config(made)["Config"]["Labels"] == {"is": "mine", "more": "it's $x"}
    assert (
        "target stage 'c' could not be found (stages: a, b)"
        in box.build(text, "--target", "c", code=125).stderr
    )


def test_triggers_run_in_the_image_that_is_built_upon(box: Builder) -> None:
    box.write({"f": "x"})
    parent = "FROM busybox\nONBUILD COPY f /triggered\nONBUILD RUN echo $A > /run\nENV A=parent"
    box.build(parent, "-t", "parent")
    assert "triggered" not in box.files("parent")
    done = box.build("FROM parent\nENV A=child", "-t", "child")
    assert "# Executing 2 build triggers" in done.stdout
    assert box.content("child", "run") == b"parent\n"
    assert "triggered" in box.files("child")
    assert box.config("child")["Config"]["OnBuild"] is None


def test_what_is_printed(box: Builder) -> None:
    box.write({"f": "x"})
    done = box.build(
        'FROM busybox\nCOPY f /f\nRUN echo said; echo -n more >&2\nCMD ["x"]', "-t", "a:1", "-t", "b"
    )
    lines = done.stdout.splitlines()
    number = r"[0-9a-f]{12}"
    for line, pattern in zip(
        lines,
        [
            r"Sending build context to imagetool \d[\d.]* k?B",
            r"Step 1/4 : FROM busybox", f" ---> {number}",
            r"Step 2/4 : COPY f /f", f" ---> {number}",
            r"Step 3/4 : RUN echo said; echo -n more >&2", f" ---> Running in {number}", "said", "more",
            f"Removing intermediate container {number}", f" ---> {number}",
            r'Step 4/4 : CMD \["x"\]', f" ---> {number}",
            f"Successfully built {number}", "Successfully tagged a:1", "Successfully tagged b:latest",
        ],
        strict=True,
    ):  # fmt: skip
        assert re.fullmatch(pattern, line), line
    assert lines[-4].split()[-1] == lines[-3].split()[-1] == box("images", "-q", "a:1").strip()


def test_an_id_in_a_file_and_an_image_without_a_name(box: Builder, tmp_path: Path) -> None:
    made = box.image("FROM busybox\nLABEL a=b", "--iidfile", str(tmp_path / "id"))
    assert (tmp_path / "id").read_text() == made
    assert re.search(rf"<none>\s+<none>\s+{made[7:19]}", box("images"))


def test_stages_without_need_of_each_other_run_at_once(box: Builder) -> None:
    """Each waits for what the other one leaves in a cache that both have."""
    wait = "n=0; until test -e /meet/{} || test $n = 200; do busybox sleep 0.1; n=$((n+1)); done; test -e /meet/{}"
    mount = "--mount=type=cache,target=/meet,id=meet"
    text = f"""
    FROM busybox AS a
    RUN {mount} echo > /meet/a; {wait.format("b", "b")}
    FROM busybox AS b
    RUN {mount} echo > /meet/b; {wait.format("a", "a")}; echo done > /b
    FROM a
    COPY --from=b /b /b
    """
    done = box.build(text, "-t", "met")
    assert box.content("met", "b") == b"done\n"
    order = [text for text, _ in steps(done.stdout)]
    assert order == sorted(order, key=[row.strip() for row in text.strip().splitlines()].index)


def test_squash_makes_one_layer_with_the_same_files(box: Builder) -> None:
    box.write({"d/a": "a", "d/b": "b"})
    text = """
    FROM busybox
    COPY d /d/
    RUN busybox rm /d/a /bin/ls; busybox ln /d/b /d/hard; busybox ln -s b /d/soft
    RUN busybox rm -r /tmp; busybox mkdir -m 700 /tmp; echo t > /tmp/t
    """
    whole, squashed = box.image(text), box.image(text, "--squash")
    assert len(box.layers(whole)) == 4
    assert box.layers(squashed)[1:] == [
        ["bin", "bin/.wh.ls", "d", "d/b", "d/hard", "d/soft", "tmp", "tmp/.wh..wh..opq", "tmp/t"]
    ]
    assert box("image", "diff", whole, squashed) == ""
    assert box.image(text, "--squash") == squashed


@pytest.mark.parametrize("top", ["overlay", "fuse"])
def test_the_same_time_gives_the_same_image(box: Builder, tmp_path: Path, top: str) -> None:
    box.write({"d/a": "a"})
    text = """
    FROM busybox
    WORKDIR /w/x
    COPY d /d/
    RUN echo new > /new; busybox mv /bin/cat /bin/dog; busybox chmod 700 /bin/busybox
    RUN busybox mv /d /e; busybox mkdir -p /d/e/f; busybox rm -r /tmp; busybox mkdir /tmp
    CMD ["x"]
    """
    epoch = {"SOURCE_DATE_EPOCH": "1600000000"}
    made = box.image(text, "--top", "auto", **epoch)
    again = box.image(text, "--no-cache", "--top", top, **epoch)
    assert again == made
    assert max(member.mtime for member in box.files(made).values()) < 1_700_000_001
    assert box.config(made)["Created"] == "2020-09-13T12:26:40Z"


def test_many_steps_stand_on_each_other(box: Builder) -> None:
    """More than are stacked before the layers are mounted anew."""
    runs = "\n".join(f"RUN echo {n} >> /all; echo {n} > /f{n}" for n in range(14))
    made = box.image(f"FROM busybox\n{runs}\nRUN busybox rm /f0 /f13")
    assert box.content(made, "all").split() == [str(n).encode() for n in range(14)]
    assert {f"f{n}" for n in range(1, 13)} <= set(box.files(made))
    assert not {"f0", "f13"} & set(box.files(made))
