"""What fills a volume writes through no link that another container, which has it already, puts there meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imagetool.containers import volumes
from imagetool.runtime.options import Mount


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An image with something at /data, a container's directory, and what is neither."""
    data = tmp_path / "container/rootfs/data"
    (data / "d").mkdir(parents=True)
    (data / "d/f").write_text("image")
    (data / "f").write_text("image")
    (data / "link").symlink_to("f")
    os.setxattr(data / "f", "user.key", b"value")
    os.chown(data, 7, 8)
    data.chmod(0o2751)
    for name in ("volume", "outside"):
        (tmp_path / name).mkdir()
    (tmp_path / "outside/secret").write_text("host")
    return tmp_path


def fill(folder: Path) -> None:
    volumes.fill(Mount("volume", str(folder / "volume"), "/data"), str(folder / "container/rootfs"))


def test_all_that_the_image_has(folder: Path) -> None:
    fill(folder)
    made = (folder / "volume").stat()
    assert (made.st_uid, made.st_gid, made.st_mode & 0o7777) == (7, 8, 0o2751)
    assert sorted(os.listdir(folder / "volume")) == ["d", "f", "link"]
    assert (folder / "volume/d/f").read_text() == "image"
    assert os.readlink(folder / "volume/link") == "f"
    assert os.getxattr(folder / "volume/f", "user.key") == b"value"
    assert os.listdir(folder / "container") == ["rootfs"]


@pytest.mark.parametrize("name", ["f", "d"])
def test_a_link_that_comes_meanwhile(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    target = folder / "outside" / ("secret" if name == "f" else "")
    find = volumes.open_in_root

    def swap(root: int, path: str) -> int:  # the volume has been found to be empty
        (folder / "volume" / name).symlink_to(target)
        return find(root, path)

    monkeypatch.setattr(volumes, "open_in_root", swap)
    fill(folder)
    assert os.listdir(folder / "outside") == ["secret"]
    assert (folder / "outside/secret").read_text() == "host"
    assert os.readlink(folder / "volume" / name) == str(target)
    assert os.listdir(folder / "container") == ["rootfs"]
