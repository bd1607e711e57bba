"""`export`: the files of an image as one tar, which `import` takes."""

from __future__ import annotations

import click

from imagetool.commands.context import Context, image_argument, platform_option
from imagetool.commands.streams import output
from imagetool.spec import Platform


@click.command(
    "export",
    epilog="""\b
Examples:
  imagetool export -o root.tar debian:12
  imagetool export debian:12 | tar tv""",
)
@image_argument()
@click.option(
    "-o", "--output", "path", metavar="FILE", type=click.Path(), help="Else it goes to standard output."
)
@platform_option
@click.pass_obj
def command(context: Context, image: str, path: str | None, platform: Platform | None) -> None:
    """Write the files of an image as one tar."""
    from imagetool.archive.export import export

    store = context.store
    found = store.image(store.resolve(image, platform))
    store.ensure_layers(found)
    with output(path, "a tar") as sink:
        export(store.layer_tars(found), sink)
