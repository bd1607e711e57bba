"""`mount`: an image as a directory, until `umount`."""

from __future__ import annotations

import click

from imagetool.commands.context import Context, image_argument, platform_option
from imagetool.errors import UsageError
from imagetool.spec import Platform
from unionfs.annotations import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from imagetool.api import When


@click.command(
    "mount",
    epilog="""\b
Examples:
  ls $(imagetool mount debian:12)
  imagetool mount debian:12 /mnt/debian
  imagetool mount --rw debian:12             changes are gone after umount
  imagetool mount --top ./changes debian:12  changes are in ./changes/upper""",
)
@image_argument()
@click.argument("directory", required=False, type=click.Path())
@click.option("--rw", is_flag=True, help="Writable; changes go with the mount.")
@click.option("--top", metavar="DIR", type=click.Path(), help="Writable; DIR takes and keeps the changes.")
@click.option(
    "--pull",
    "pulling",
    type=click.Choice(["missing", "always", "never"]),
    default="missing",
    help="When to pull the image first; missing.",
)
@platform_option
@click.option(
    "-o", "options", multiple=True, metavar="WORDS", help="Further mount options, see unionfs --help."
)
@click.pass_obj
def command(
    context: Context, image: str, directory: str | None, rw: bool, top: str | None, pulling: str,
    platform: Platform | None, options: tuple[str, ...],
) -> None:  # fmt: skip
    """Mount an image as a directory and print it."""
    from imagetool import mounts

    _check(options)
    manifest, _ = context.have(image, platform, cast("When", pulling))
    words = ",".join(options)
    mount = mounts.attach(context.store, manifest, image, directory, top=top, rw=rw, options=words)
    click.echo(mount.target)


def _check(options: tuple[str, ...]) -> None:
    """What makes the mount the image's is not to be changed, and a slip is not to be passed over."""
    from unionfs.options import is_known, split

    for word in [word for words in options for word in split(words, ",")]:
        if word.partition("=")[0] in _OURS or not is_known(word):
            raise UsageError(f"mount option {word!r} cannot be given", hint="see: unionfs --help")


_OURS = frozenset({"lowerdir", "lowerdir+", "upperdir", "workdir", "fsname", "subtype"})
