"""Stages, targets and scopes."""

from __future__ import annotations

import pytest

from imagetool.build import dockerfile, plan, runmount
from imagetool.build.errors import DockerfileError
from imagetool.build.runmount import RunMount
from imagetool.build.scope import Scope
from imagetool.errors import NotFound, UsageError

MULTI = """
ARG BASE=debian
ARG TAG=${TAG:-12}
FROM ${BASE}:$TAG AS base
FROM base AS test
RUN x
FROM golang AS build
COPY --from=base /a /a
RUN --mount=from=tools,target=/t --mount=type=bind,from=test,target=/u y
FROM scratch
COPY --from=build /b /b
COPY --from=0 /c /c
COPY --from=alpine:3 /d /d
"""


def made(text: str, **options: object) -> plan.BuildPlan:
    return plan.plan(dockerfile.parse(text), **options)  # type: ignore[arg-type]


def test_stages_and_sources() -> None:
    build = made(MULTI)
    assert [(s.number, s.name, s.base) for s in build.stages] == [
        (0, "base", "debian:12"), (1, "test", 0), (2, "build", "golang"), (3, "", "scratch"),
    ]  # fmt: skip
    assert build.stages[2].sources == {"base": 0, "tools": "tools", "test": 1}
    assert build.stages[3].sources == {"build": 2, "0": 0, "alpine:3": "alpine:3"}
    assert build.stages[3].needs == {0, 2}
    assert build.target == 3
    assert build.images() == ["debian:12", "golang", "tools", "alpine:3"]


def test_unused_stages_are_dropped() -> None:
    assert [s.name for s in made(MULTI, target="TEST").stages] == ["base", "test"]
    assert [s.name for s in made(MULTI, target="0").stages] == ["base"]


def test_build_args_reach_from() -> None:
    build = made(MULTI, target="base", build_args={"BASE": "ubuntu", "TAG": "24.04"})
    assert build.stages[0].base == "ubuntu:24.04"


def test_platforms() -> None:
    text = "FROM --platform=$BUILDPLATFORM a AS x\nFROM b:$TARGETARCH$TARGETVARIANT\nCOPY --from=x . ."
    build = made(text, platform="linux/arm/v7", build_platform="linux/amd64")
    assert (build.stages[0].platform, build.stages[1].platform) == ("linux/amd64", "")
    assert build.stages[1].base == "b:armv7"


def test_unknown_target() -> None:
    with pytest.raises(NotFound, match=r"'prod' could not be found.*base, test, build"):
        made(MULTI, target="prod")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ARG x\nFROM $x", "Dockerfile:2: the base name"),
        ("FROM a:${x?unset}", "Dockerfile:1:8: x: unset"),
        ("FROM a AS b\nFROM a AS B", "Dockerfile:2: duplicate name 'b'"),
        ("FROM a\nCOPY --from=0 x y", "Dockerfile:2: invalid stage index 0"),
        ("FROM a AS me\nCOPY --from=Me x y", "Dockerfile:2:13: circular dependency detected on stage: Me"),
        ("FROM a AS me\nRUN --mount=from=me,target=/x y", "Dockerfile:2:18: circular dependency detected"),
        ("FROM a\nFROM b\nCOPY --from=2 x y", "Dockerfile:3: invalid stage index 2"),
    ],
)
def test_errors(text: str, message: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        made(text)
    assert str(caught.value).startswith(message)


def test_a_later_stage_is_no_source() -> None:
    assert made("FROM a\nCOPY --from=later x y\nFROM b AS later", target="0").stages[0].sources == {
        "later": "later"
    }


def test_unconsumed_build_args_are_named() -> None:
    build = made("FROM a\nARG used", build_args={"used": "1", "HTTP_PROXY": "p", "typo": "2"})
    assert build.warnings == ("[Warning] One or more build-args ['typo'] were not consumed",)


class TestScope:
    def test_global_arguments_must_be_declared_again(self) -> None:
        scope = Scope(global_args={"V": "1"})
        assert scope.values() == {}
        assert scope.declare("V", None).values() == {"V": "1"}
        assert scope.declare("V", "2").values() == {"V": "2"}

    def test_the_command_line_wins(self) -> None:
        scope = Scope(global_args={"V": "1"}, build_args={"V": "3"})
        assert scope.declare("V", "2").values() == {"V": "3"}

    def test_env_wins_over_arg_whatever_the_order(self) -> None:
        assert Scope().with_env("V", "e").declare("V", "a").values() == {"V": "e"}
        assert Scope().declare("V", "a").with_env("V", "e").values() == {"V": "e"}

    def test_no_value_is_not_empty(self) -> None:
        assert Scope().declare("V", None).values() == {}
        assert Scope().declare("V", "").values() == {"V": ""}

    def test_what_has_a_value_keeps_it(self) -> None:
        scope = Scope().declare("V", "1")
        assert scope.declare("V", None).values() == {"V": "1"}
        assert scope.declare("V", "2").values() == {"V": "2"}
        assert scope._replace(global_args={"V": "g"}).declare("V", None).values() == {"V": "g"}

    def test_proxies_are_there_in_both_spellings_but_do_not_count(self) -> None:
        scope = Scope(build_args={"http_proxy": "p", "other": "o"})
        assert scope.run_environment() == ({}, {"http_proxy": "p", "HTTP_PROXY": "p"})
        assert scope.declare("http_proxy", None).run_environment() == (
            {"http_proxy": "p"},
            {"HTTP_PROXY": "p"},
        )
        scope = Scope(build_args={"NO_PROXY": "a", "no_proxy": "b"}, env={"no_proxy": "c"})
        assert scope.run_environment() == ({"no_proxy": "c"}, {"NO_PROXY": "a"})


MOUNTS = [
    ("type=cache,target=/c", RunMount("cache", "/c", id="/c", mode=0o755)),
    ("type=cache,dst=/c,id=x,sharing=locked,mode=0700,uid=5,gid=6,ro",
     RunMount("cache", "/c", readonly=True, id="x", sharing="locked", mode=0o700, uid=5, gid=6)),
    ("target=/s,source=a/b", RunMount("bind", "/s", "a/b", readonly=True)),
    ("type=bind,target=/s,from=build,rw", RunMount("bind", "/s", stage="build")),
    ("type=tmpfs,target=/t,size=1m", RunMount("tmpfs", "/t", size=1 << 20)),
    ("type=secret,id=key,required", RunMount("secret", id="key", mode=0o400, required=True)),
    ("type=secret,src=/x/tok,env=TOKEN", RunMount("secret", source="/x/tok", id="tok", mode=0o400, env="TOKEN")),
    ("type=ssh", RunMount("ssh", id="default", mode=0o600)),
    ('type=bind,"source=a,b",target=/x', RunMount("bind", "/x", "a,b", readonly=True)),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), MOUNTS)
def test_run_mounts(text: str, expected: RunMount) -> None:
    assert runmount.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "type=x",
        "type=cache",
        "type=bind,target=/x,source=../../etc",
        "type=bind,target=/x,source=a/../../b",
        "target=/x,size=1",
        "type=cache,target=/c,sharing=all",
        "type=cache,target=/c,mode=9",
        "foo=1",
        "type=secret,ro=maybe",
    ],
)  # fmt: skip
def test_bad_run_mounts(text: str) -> None:
    with pytest.raises(UsageError):
        runmount.parse(text)
