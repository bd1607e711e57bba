"""Registries, images and stores for the tests of the registry client."""

import functools
import io
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio

from imagetool import reference
from imagetool.progress import Lines
from imagetool.registry import outgoing
from imagetool.registry import pull as pulling
from imagetool.registry import push as pushing
from imagetool.registry.config import Registries
from imagetool.registry.pull import Pulled
from imagetool.registry.remote import connect
from imagetool.registry.retry import Policy
from imagetool.registry.tls import Certificates
from imagetool.registry.transport import Timeouts
from imagetool.spec import Descriptor
from imagetool.store.store import Store
from tests.support.hostile import Hostile, hostile
from tests.support.oci import Layout
from tests.support.registry import Server, registry

T = TypeVar("T")

BIG = {"big": os.urandom(3 << 20)}
QUICK = Timeouts(connect=5, stall=0.4, answer=3, commit=10)
PATIENT = Policy(attempts=3, first=0.01, longest=0.05, patience=2)


class World:
    """A store, and pulls and pushes of it. `environ` is what the client sees; `lines` what it showed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store.open(str(folder / "store"))
        self.environ = {
            "HOME": str(folder / "home"),
            "CONTAINERS_REGISTRIES_CONF": str(folder / "registries.conf"),
        }
        (folder / "registries.conf").write_text("")
        self.certificates: Certificates | None = None
        self.registries: Registries | None = None
        self.timeouts = QUICK
        self.policy = PATIENT
        self._shown = io.StringIO()

    @property
    def lines(self) -> list[str]:
        return self._shown.getvalue().splitlines()

    def run(self, operation: Callable[..., Awaitable[T]], *arguments: Any, **options: Any) -> T:
        """Call it with a Remote as the first argument."""

        async def main() -> T:
            async with connect(
                certificates=self.certificates,
                registries=self.registries,
                timeouts=self.timeouts,
                policy=self.policy,
                environ=self.environ,
            ) as remote:
                return await operation(remote, *arguments, **options)

        return trio.run(main)

    def pull(self, name: str, **options: Any) -> Pulled:
        async def go(remote: Any) -> Pulled:
            return await pulling.pull(
                self.store, reference.parse(name), remote, pulling.Options(**options), self._lines()
            )

        return self.run(go)

    def push(self, name: str, **options: Any) -> Descriptor:
        async def go(remote: Any) -> Descriptor:
            return await pushing.push(
                self.store, reference.parse(name), remote, outgoing.Options(**options), self._lines()
            )

        return self.run(go)

    def _lines(self) -> Lines:
        self._shown = io.StringIO()
        return Lines(self._shown)

    def names(self) -> set[str]:
        return {ref.name or "" for ref in self.store.references()}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "oci")


@pytest.fixture
def bad() -> Iterator[Hostile]:
    """A registry of the tests' own, which does what it is told to."""
    with hostile() as server:
        yield server


@pytest.fixture
def other() -> Iterator[Hostile]:
    """Another origin: the same machine at another port."""
    with hostile() as server:
        yield server


@pytest.fixture
def name(bad: Hostile, layout: Layout) -> str:
    """The name of an image with one large layer at the bad registry."""
    image = layout.image([BIG])
    bad.load(layout)
    bad.tag("x", image)
    return f"{bad.host}/app:x"


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A docker-registry over plain HTTP that all tests of a session share: each uses names of its own."""
    with registry(tmp_path_factory.mktemp("registry")) as server:
        yield server


@pytest.fixture
def empty(tmp_path: Path) -> Callable[..., Any]:
    """`with empty(login=…) as server:` is a docker-registry of this test alone."""
    return functools.partial(registry, tmp_path / "registry")
