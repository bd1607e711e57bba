"""What every command gets: the store, what to show of progress, and how to go on after one of several failed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable

import click

from imagetool.errors import ImageToolError
from unionfs.annotations import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imagetool.api import When
    from imagetool.progress import Progress
    from imagetool.spec import Descriptor, Platform
    from imagetool.store.read import Image
    from imagetool.store.store import Store

FAILED = ImageToolError.exit_code


class Context:
    """The options that stand before the command. `quiet`: nothing but results."""

    def __init__(self, root: str | None = None, *, quiet: bool = False, debug: bool = False) -> None:
        self.root = root
        self.quiet = quiet
        self.debug = debug
        self._store: Store | None = None

    @property
    def store(self) -> Store:
        """Opened, and made if it is not there yet, when it is first needed."""
        if self._store is None:
            from imagetool.store.store import Store

            self._store = Store.open(self.root)
        return self._store

    def become_root(self) -> Store:
        """Root of a user namespace, where files of the user's further ids are his own; nothing happens to root.

        Gives the store, which is the user's still. SandboxError.
        """
        store = self.store
        if os.geteuid() != 0:
            from imagetool.containers import rootless

            rootless.enter()
        return store

    def progress(self, *, quiet: bool = False, err: bool = False) -> Progress:
        """For standard output, as Docker does, or (`err`) beside it. To be entered."""
        from imagetool import progress

        return progress.show(sys.stderr if err else sys.stdout, quiet=quiet or self.quiet)

    def note(self, text: str) -> None:
        """A line for people, unless they want to be left alone."""
        if not self.quiet:
            click.echo(text, err=True)

    def have(
        self, name: str, platform: Platform | None, pulling: When = "missing", *, quiet: bool = False
    ) -> tuple[Descriptor, Image]:
        """An image to work with, pulled where need be. Its user hears if it is for another platform than asked for."""
        from imagetool import api

        target = api.have(self.store, name, platform, pulling, lambda: self.progress(quiet=quiet, err=True))
        image = self.store.image(target)
        if platform is not None and image.config.platform.architecture != platform.architecture:
            self.note(f"WARNING: image {name} is for {image.config.platform}, not for {platform}")
        return target, image


def each(names: Iterable[str], action: Callable[[str], object]) -> None:
    """Does it to every name; one that fails gets its line, and the others are still done. Exits if one failed."""
    failed = 0
    for name in names:
        try:
            action(name)
        except ImageToolError as error:
            click.echo(f"Error: {error}", err=True)
            failed = error.exit_code
    if failed:
        raise click.exceptions.Exit(failed)


def confirmed(warning: str, *, force: bool) -> bool:
    """Docker's question before something is removed; anything but y is no."""
    if force:
        return True
    click.echo(f"WARNING! {warning}")
    click.echo("Are you sure you want to continue? [y/N] ", nl=False)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def complete_images(context: click.Context, _: click.Parameter, start: str) -> list[str]:
    """Names of images for the shell's completion; none when the store cannot be read."""
    from imagetool import reference
    from imagetool.store.store import Store

    root = context.find_root().params.get("root")
    try:
        refs = Store.open(root, create=False).references()
        names = {reference.parse(ref.name).familiar() for ref in refs if ref.name and "@" not in ref.name}
    except ImageToolError:
        return []
    return sorted(name for name in names if name.startswith(start))


def image_argument(name: str = "image", **more: Any) -> Callable[[Any], Any]:
    """The argument for an image, with completion."""
    defaults: dict[str, Any] = {"metavar": "IMAGE", "shell_complete": complete_images}
    return click.argument(name, **defaults | more)


def complete_containers(context: click.Context, _: click.Parameter, start: str) -> list[str]:
    """Names of containers, in the same way."""
    from imagetool.containers import folder
    from imagetool.store.store import Store

    root = context.find_root().params.get("root")
    try:
        found = folder.listing(Store.open(root, create=False))
    except ImageToolError:
        return []
    return sorted(one.name for one in found if one.name.startswith(start))


def container_argument(name: str = "name", **more: Any) -> Callable[[Any], Any]:
    """The argument for a container, with completion."""
    defaults: dict[str, Any] = {"metavar": "CONTAINER", "shell_complete": complete_containers}
    return click.argument(name, **defaults | more)


def complete_both(context: click.Context, parameter: click.Parameter, start: str) -> list[str]:
    return [*complete_containers(context, parameter, start), *complete_images(context, parameter, start)]


def _platform(context: click.Context, parameter: click.Parameter, value: str | None) -> Platform | None:
    if value is None:
        return None
    from imagetool.spec import Platform

    return Platform.parse(value)


platform_option = click.option(
    "--platform", metavar="OS/ARCH", callback=_platform, help="Another platform than this machine's."
)


force_option = click.option("-f", "--force", is_flag=True, help="Do not ask.")


def _size(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    from imagetool.units import parse_size

    return parse_size(value)


limit_option = click.option(
    "--max-layer-size", metavar="SIZE", callback=_size,
    help="What a layer may decompress to, as in 20GB; 2 GiB or 200 times its blob.",
)  # fmt: skip

insecure_option = click.option(
    "--insecure", is_flag=True, help="Allow plain HTTP, and certificates that nobody vouches for."
)
