"""The image config (image-spec config.md), with the fields that Docker adds.

The digest of its bytes is the image ID. Lists that are null and lists that are empty are told apart in
`entrypoint` and `cmd`, because an empty one overrides what a base image says.
"""

from __future__ import annotations

from collections.abc import Mapping

from imagetool import digest as digests
from imagetool.digest import Digest
from imagetool.errors import Malformed
from imagetool.spec.descriptor import EMPTY, Platform
from imagetool.spec.fields import Fields, Json, compact, dump, extra, load, name_set
from unionfs.namedtuple import NamedTuple


class RunConfig(NamedTuple):
    """How a container of the image is started: the object `config` in an image config."""

    user: str = ""
    exposed_ports: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    volumes: tuple[str, ...] = ()
    working_dir: str = ""
    labels: Mapping[str, str] = EMPTY
    stop_signal: str = ""
    on_build: tuple[str, ...] = ()
    shell: tuple[str, ...] = ()
    healthcheck: Mapping[str, Json] = EMPTY
    extra: Mapping[str, Json] = EMPTY

    def to_json(self) -> dict[str, Json]:
        known = {
            "User": self.user,
            "ExposedPorts": name_set(self.exposed_ports),
            "Env": list(self.env),
            "Entrypoint": _listed(self.entrypoint),
            "Cmd": _listed(self.cmd),
            "Healthcheck": dict(self.healthcheck),
            "Volumes": name_set(self.volumes),
            "WorkingDir": self.working_dir,
            "Labels": dict(self.labels),
            "StopSignal": self.stop_signal,
            "OnBuild": list(self.on_build),
            "Shell": list(self.shell),
        }
        empty: dict[str, Json] = {key: [] for key in ("Entrypoint", "Cmd") if known[key] == []}
        return compact(known) | empty | extra(self.extra)

    @staticmethod
    def from_json(value: Json) -> RunConfig:
        fields = Fields(value, "image config")
        return RunConfig(
            user=fields.text("User"),
            exposed_ports=fields.names("ExposedPorts"),
            env=fields.texts("Env") or (),
            entrypoint=_one_or_many(fields, "Entrypoint"),
            cmd=_one_or_many(fields, "Cmd"),
            volumes=fields.names("Volumes"),
            working_dir=fields.text("WorkingDir"),
            labels=fields.text_map("Labels"),
            stop_signal=fields.text("StopSignal"),
            on_build=fields.texts("OnBuild") or (),
            shell=fields.texts("Shell") or (),
            healthcheck=fields.object("Healthcheck") or EMPTY,
            extra=fields.rest(),
        )


class History(NamedTuple):
    """One step of how the image was made. `empty_layer`: it made no layer."""

    created: str = ""  # RFC 3339
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False
    extra: Mapping[str, Json] = EMPTY

    def to_json(self) -> dict[str, Json]:
        known = {
            "created": self.created,
            "created_by": self.created_by,
            "author": self.author,
            "comment": self.comment,
            "empty_layer": self.empty_layer or None,
        }
        return compact(known) | extra(self.extra)

    @staticmethod
    def from_json(value: Json) -> History:
        fields = Fields(value, "history of the image config")
        return History(
            fields.text("created"),
            fields.text("created_by"),
            fields.text("author"),
            fields.text("comment"),
            fields.boolean("empty_layer"),
            fields.rest(),
        )


class Config(NamedTuple):
    """The whole image config; `diff_ids` are the digests of the uncompressed layers, the lowest first."""

    platform: Platform
    diff_ids: tuple[Digest, ...] = ()
    run: RunConfig = RunConfig()
    created: str = ""  # RFC 3339
    author: str = ""
    history: tuple[History, ...] = ()
    extra: Mapping[str, Json] = EMPTY

    def render(self) -> bytes:
        platform = self.platform
        head = {"created": self.created, "author": self.author}
        known = compact(head) | platform.to_json() | {"config": self.run.to_json()}
        known["rootfs"] = {"type": "layers", "diff_ids": list(self.diff_ids)}
        if self.history:
            known["history"] = [step.to_json() for step in self.history]
        return dump(known | extra(self.extra))

    @staticmethod
    def parse(data: bytes) -> Config:
        """Malformed unless there is a root file system made of layers."""
        fields = Fields(load(data, "image config"), "image config")
        run = fields.object("config")
        return Config(
            platform=_platform(fields),
            diff_ids=_diff_ids(fields),
            run=RunConfig() if run is None else RunConfig.from_json(run),
            created=fields.text("created"),
            author=fields.text("author"),
            history=tuple(History.from_json(step) for step in fields.array("history") or ()),
            extra=fields.rest(),
        )


def _platform(fields: Fields) -> Platform:
    return Platform(
        fields.text("os"),
        fields.text("architecture"),
        fields.text("variant"),
        fields.text("os.version"),
        fields.texts("os.features") or (),
    )


def _diff_ids(fields: Fields) -> tuple[Digest, ...]:
    rootfs = Fields(fields.object("rootfs"), "rootfs of the image config")
    if rootfs.text("type") != "layers":
        raise Malformed("image config has a root file system that is not made of layers")
    return tuple(digests.parse(item) for item in rootfs.array("diff_ids") or ())


def _listed(value: tuple[str, ...] | None) -> list[str] | None:
    return None if value is None else list(value)


def _one_or_many(fields: Fields, name: str) -> tuple[str, ...] | None:
    """Old tools wrote a single text where a list belongs."""
    value = fields.rest().get(name)
    if isinstance(value, str):
        fields.text(name)
        return (value,)
    return fields.texts(name)
