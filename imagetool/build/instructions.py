"""The instructions of a Dockerfile as frozen values: what was written, nothing expanded yet."""

from __future__ import annotations

from imagetool.build.lines import Heredoc
from unionfs.namedtuple import NamedTuple


class At(NamedTuple):
    """Where an instruction stands, and how it is shown in a step's line."""

    line: int
    end: int
    text: str


class From(NamedTuple):
    at: At
    image: str
    name: str = ""  # of the stage, in lower case
    platform: str = ""


class Command(NamedTuple):
    """The shell form is one word for the shell; the exec form is the words themselves."""

    words: tuple[str, ...]
    shell: bool


class Run(NamedTuple):
    at: At
    command: Command
    heredocs: tuple[Heredoc, ...] = ()
    mounts: tuple[str, ...] = ()  # the values of --mount, see `runmount.parse`
    network: str = "default"
    security: str = "sandbox"


class Cmd(NamedTuple):
    at: At
    command: Command


class Entrypoint(NamedTuple):
    at: At
    command: Command


class Shell(NamedTuple):
    at: At
    words: tuple[str, ...]


class Transfer(NamedTuple):
    """COPY or ADD (`add`)."""

    at: At
    add: bool
    sources: tuple[str, ...]  # "<<NAME" for a here-document
    target: str
    heredocs: tuple[Heredoc, ...] = ()
    stage: str = ""  # --from
    chown: str = ""
    chmod: str = ""
    link: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()
    checksum: str = ""
    keep_git_dir: bool = False
    unpack: bool | None = None  # None: a local archive is unpacked, a URL is not


class Env(NamedTuple):
    at: At
    pairs: tuple[tuple[str, str], ...]


class Label(NamedTuple):
    at: At
    pairs: tuple[tuple[str, str], ...]


class Arg(NamedTuple):
    at: At
    names: tuple[tuple[str, str | None], ...]  # None: declared without a default


class Expose(NamedTuple):
    at: At
    ports: str  # split after the expansion


class Volume(NamedTuple):
    at: At
    paths: tuple[str, ...]


class User(NamedTuple):
    at: At
    user: str


class Workdir(NamedTuple):
    at: At
    path: str


class StopSignal(NamedTuple):
    at: At
    signal: str


class Maintainer(NamedTuple):
    at: At
    text: str


class Healthcheck(NamedTuple):
    """Durations in nanoseconds, 0 where not given; `command` None is HEALTHCHECK NONE."""

    at: At
    command: Command | None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class Onbuild(NamedTuple):
    at: At
    trigger: str


Instruction = (
    From | Run | Cmd | Entrypoint | Shell | Transfer | Env | Label | Arg | Expose | Volume | User | Workdir
    | StopSignal | Maintainer | Healthcheck | Onbuild
)  # fmt: skip
