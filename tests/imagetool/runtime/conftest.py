"""Containers on a root directory of busybox; after each test nothing of them may be left on the machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.imagetool.runtime.kit import CGROUP, LINKS, Runner


@pytest.fixture(scope="session")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with busybox, its applets and a few accounts; never changed: `rootfs` is a copy of it."""
    root = tmp_path_factory.mktemp("busybox")
    for name in ("bin", "etc", "tmp", "srv"):
        (root / name).mkdir()
    shutil.copy2("/bin/busybox", root / "bin/busybox")
    applets = subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True)
    for name in applets.stdout.split():
        if name != "busybox":
            (root / "bin" / name).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nweb:x:101:102:web:/srv:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nweb:x:102:\nstaff:x:50:web,other\n")
    root.chmod(0o755)
    (root / "tmp").chmod(0o1777)
    return root


@pytest.fixture(scope="session")
def plain_cgroups() -> None:
    """crun refuses a machine whose version 1 hierarchies stand beside a version 2 one that has a controller.

    That one is hidden here, in the mount namespace that root's tests have to themselves.
    """
    controllers = "/sys/fs/cgroup/unified/cgroup.controllers"
    if os.path.exists(controllers):
        subprocess.run(["mount", "--bind", "/dev/null", controllers], check=True)


@pytest.fixture
def rootfs(busybox: Path, tmp_path: Path) -> Path:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    shutil.copytree(busybox, bundle / "rootfs", symlinks=True)
    return bundle / "rootfs"


@pytest.fixture
def runner(rootfs: Path) -> Runner:
    """The built-in executor."""
    return Runner(rootfs, "builtin")


@pytest.fixture(params=["builtin", "crun"])
def either(rootfs: Path, plain_cgroups: None, request: pytest.FixtureRequest) -> Runner:
    """Each executor in turn: what is asked of one is asked of all."""
    return Runner(rootfs, request.param)


@pytest.fixture(autouse=True)
def nothing_left_behind(plain_cgroups: None) -> Iterator[None]:
    mounts, before = _mounts(), _traces()
    yield
    assert _traces() == before
    assert _mounts() - mounts == set()  # fewer there may be: others' mount points are removed at any time


def _mounts() -> set[str]:
    return {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}


def _traces() -> dict[str, object]:
    groups = [str(p) for p in Path("/sys/fs/cgroup").glob(f"*/{CGROUP.strip('/')}*")]
    return {
        "cgroups": groups,
        "links": sorted(n for n in os.listdir("/sys/class/net") if n.startswith(LINKS)),
        "children": Path(f"/proc/self/task/{os.getpid()}/children").read_text(),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "working directory": os.getcwd(),
    }
