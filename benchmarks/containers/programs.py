"""The programs that are compared: what each does with containers, and how each builds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.images import programs as images
from benchmarks.programs import commands
from benchmarks.programs.commands import Argv

FOREVER = ("sleep", "1000")


class Containers(images.Images):
    """Every method gives the commands to run, in order; an empty list where the program cannot do it.

    Networks: "none", "host", and "bridge", which is the program's own.
    """

    def run(self, image: str, network: str) -> list[Argv]:
        """A container that does nothing, and is gone afterwards."""
        return []

    def detach(self, image: str, container: str, network: str) -> list[Argv]:
        """One that stays."""
        return []

    def execute(self, container: str) -> list[Argv]:
        return []

    def stop(self, container: str) -> list[Argv]:
        return []

    def start(self, container: str) -> list[Argv]:
        return []

    def remove(self, container: str) -> list[Argv]:
        return []

    def change(self, image: str, container: str, script: str) -> list[Argv]:
        """A container that has ended, and in which a shell did this."""
        return []

    def commit(self, container: str, new: str) -> list[Argv]:
        return []

    def build(self, context: Path, base: str, new: str, network: str, *, cached: bool) -> list[Argv]:
        return []


class Worded(Containers):
    """One that takes Docker's words. `options`: what `run` needs besides."""

    options: Sequence[str] = ()

    def run(self, image: str, network: str) -> list[Argv]:
        return [self.command("run", "--rm", "--network", network, *self.options, image, "true")]

    def detach(self, image: str, container: str, network: str) -> list[Argv]:
        options = ["--name", container, "--network", network, *self.options]
        return [self.command("run", "-d", *options, image, *FOREVER)]

    def execute(self, container: str) -> list[Argv]:
        return [self.command("exec", container, "true")]

    def stop(self, container: str) -> list[Argv]:
        return [self.command("stop", "-t", "0", container)]

    def start(self, container: str) -> list[Argv]:
        return [self.command("start", container)]

    def remove(self, container: str) -> list[Argv]:
        return [self.command("rm", "-f", container)]

    def change(self, image: str, container: str, script: str) -> list[Argv]:
        options = ["--name", container, "--network", "none", *self.options]
        return [self.command("run", *options, image, "sh", "-c", script)]

    def commit(self, container: str, new: str) -> list[Argv]:
        return [self.command("commit", container, new)]


class ImageTool(Worded, images.ImageTool):
    def build(self, context: Path, base: str, new: str, network: str, *, cached: bool) -> list[Argv]:
        allowed = ["--network", "host", "--allow", "network.host"] if network == "host" else []
        return [
            self.command("build", "-q", *_build_words(context, base, new, cached), *allowed, str(context))
        ]


class OverlayTop(ImageTool):
    name = "imagetool:overlay"
    options = ("--top", "overlay")


class FuseTop(ImageTool):
    name = "imagetool:fuse"
    options = ("--top", "fuse")


class Podman(Worded, images.Podman):
    options = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")  # its own may be out of reach

    def stop(self, container: str) -> list[Argv]:
        return [self.command("kill", container), self.command("wait", container)]

    def remove(self, container: str) -> list[Argv]:
        return [self.command("rm", "-f", "-t", "0", container)]


class Docker(Worded, images.Docker):
    network = ("--bip=10.213.0.1/24",)  # any that is nobody else's

    def build(self, context: Path, base: str, new: str, network: str, *, cached: bool) -> list[Argv]:
        words = [*_build_words(context, base, new, cached), *_host(network), str(context)]
        return [self.command("build", "-q", *words)]


class Ctr(images.Ctr, Containers):
    def run(self, image: str, network: str) -> list[Argv]:
        words = {"none": [], "host": ["--net-host"]}.get(network)
        return [] if words is None else [self.command("run", "--rm", *words, image, "one", "true")]

    def detach(self, image: str, container: str, network: str) -> list[Argv]:
        words = ["--net-host"] if network == "host" else []
        return [self.command("run", "-d", *words, image, container, *FOREVER)]

    def execute(self, container: str) -> list[Argv]:
        return [self.command("tasks", "exec", "--exec-id", "one", container, "true")]

    def stop(self, container: str) -> list[Argv]:
        return [self.command("tasks", "delete", "-f", container)]

    def start(self, container: str) -> list[Argv]:
        return [self.command("tasks", "start", "-d", container)]

    def remove(self, container: str) -> list[Argv]:
        return [*self.stop(container), self.command("containers", "delete", container)]


class Buildah(commands.Buildah, Containers):
    """On the kernel's overlayfs."""

    def pull(self, name: str) -> list[Argv]:
        return [self.command("pull", "-q", "--tls-verify=false", name)]

    def change(self, image: str, container: str, script: str) -> list[Argv]:
        made = self.command("from", "--pull-never", "--name", container, image)
        return [made, self.command("run", "--isolation", "chroot", container, "--", "sh", "-c", script)]

    def remove(self, container: str) -> list[Argv]:
        return [self.command("rm", container)]

    def commit(self, container: str, new: str) -> list[Argv]:
        return [self.command("commit", "-q", container, new)]

    def build(self, context: Path, base: str, new: str, network: str, *, cached: bool) -> list[Argv]:
        words = [*_build_words(context, base, new, cached), *_host(network), str(context)]
        return [self.command("bud", "-q", "--layers", "--pull-never", *words)]


class BuildahFuse(Buildah):
    """On fuse-overlayfs, which lists the whole image for every commit."""

    name = "buildah:fuse"
    executable = "buildah"
    options = ("overlay.mount_program=/usr/bin/fuse-overlayfs",)


def _build_words(context: Path, base: str, new: str, cached: bool) -> Argv:
    words = ["-t", new, "--build-arg", f"BASE={base}", "-f", str(context / "Dockerfile")]
    return words if cached else [*words, "--no-cache"]


def _host(network: str) -> Argv:
    return ["--network", "host"] if network == "host" else []


PROGRAMS: dict[str, type[Containers]] = {
    made.name: made for made in (ImageTool, OverlayTop, FuseTop, Podman, Buildah, BuildahFuse, Docker, Ctr)
}
