"""The programs that are compared: what each does with images.

`pull` ends when the image can be mounted: for skopeo, which cannot mount, when it is copied; for umoci, when
skopeo has copied it and umoci has unpacked it.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.programs import commands
from benchmarks.programs.commands import Argv, Program

SKOPEO = ["skopeo", "--insecure-policy", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false"]


class Images(Program):
    """Every method gives the commands to run, in order; an empty list where the program cannot do it."""

    def pull(self, name: str) -> list[Argv]:
        return []

    def rename(self, name: str, new: str) -> list[Argv]:
        """Before a push to another registry."""
        return []

    def push(self, name: str, new: str) -> list[Argv]:
        return []

    def mount(self, name: str, target: Path) -> list[Argv]:
        return []

    def mounted_at(self, said: str, target: Path) -> Path:
        """Where it is now, by what the command printed."""
        return target

    def unmount(self, name: str, target: Path) -> list[Argv]:
        return []

    def images(self) -> list[Argv]:
        return []

    def load(self, archive: Path) -> list[Argv]:
        return []


class Worded(Images):
    """One that takes Docker's words."""

    def pull(self, name: str) -> list[Argv]:
        return [self.command("pull", "-q", name)]

    def rename(self, name: str, new: str) -> list[Argv]:
        return [self.command("tag", name, new)]

    def push(self, name: str, new: str) -> list[Argv]:
        return [self.command("push", "-q", new)]

    def images(self) -> list[Argv]:
        return [self.command("images")]

    def load(self, archive: Path) -> list[Argv]:
        return [self.command("load", "-q", "-i", str(archive))]


class ImageTool(commands.ImageTool, Worded):
    def mount(self, name: str, target: Path) -> list[Argv]:
        return [self.command("mount", name, str(target))]

    def unmount(self, name: str, target: Path) -> list[Argv]:
        return [self.command("umount", str(target))]


class Podman(commands.Podman, Worded):
    def pull(self, name: str) -> list[Argv]:
        return [self.command("pull", "-q", "--tls-verify=false", name)]

    def push(self, name: str, new: str) -> list[Argv]:
        return [self.command("push", "-q", "--tls-verify=false", new)]

    def mount(self, name: str, target: Path) -> list[Argv]:
        return [self.command("image", "mount", name)]

    def mounted_at(self, said: str, target: Path) -> Path:
        return Path(said.strip())

    def unmount(self, name: str, target: Path) -> list[Argv]:
        return [self.command("image", "unmount", name)]


class Skopeo(Images):
    name = "skopeo"

    @property
    def _image(self) -> str:
        return f"oci:{self.home}/oci:image"

    def pull(self, name: str) -> list[Argv]:
        return [[*SKOPEO, f"docker://{name}", self._image]]

    def push(self, name: str, new: str) -> list[Argv]:
        return [[*SKOPEO, self._image, f"docker://{new}"]]


class Umoci(Images):
    name = "umoci"

    def pull(self, name: str) -> list[Argv]:
        unpack = ["umoci", "unpack", "--image", f"{self.home}/oci:image", str(self.home / "bundle")]
        return [[*SKOPEO, f"docker://{name}", f"oci:{self.home}/oci:image"], unpack]


class Ctr(commands.Ctr, Images):
    def pull(self, name: str) -> list[Argv]:
        return [self.command("images", "pull", "--plain-http", name)]

    def rename(self, name: str, new: str) -> list[Argv]:
        return [self.command("images", "tag", name, new)]

    def push(self, name: str, new: str) -> list[Argv]:
        return [self.command("images", "push", "--plain-http", new)]

    def mount(self, name: str, target: Path) -> list[Argv]:
        target.mkdir()
        return [self.command("images", "mount", name, str(target))]

    def unmount(self, name: str, target: Path) -> list[Argv]:
        return [self.command("images", "unmount", "--rm", str(target))]

    def images(self) -> list[Argv]:
        return [self.command("images", "ls")]


class Docker(commands.Docker, Worded):
    """Its own words."""


PROGRAMS: dict[str, type[Images]] = {
    made.name: made for made in (ImageTool, Podman, Skopeo, Umoci, Ctr, Docker)
}
