"""`export`: the files of a container, or of an image, as one tar, which `import` takes."""

from __future__ import annotations

import click

from imagetool.commands.context import Context, complete_both, image_argument, platform_option
from imagetool.commands.streams import output
from imagetool.errors import NotFound
from imagetool.spec import Platform


@click.command(
    "export",
    epilog="""\b
Examples:
  imagetool export -o root.tar web
  imagetool export debian:12 | tar tv""",
)
@image_argument(metavar="CONTAINER|IMAGE", shell_complete=complete_both)
@click.option(
    "-o", "--output", "path", metavar="FILE", type=click.Path(), help="Else it goes to standard output."
)
@platform_option
@click.pass_obj
def command(context: Context, image: str, path: str | None, platform: Platform | None) -> None:
    """Write the files of a container, or of an image, as one tar. A container's volumes are not in it."""
    from imagetool.archive.export import export, write
    from imagetool.containers import changes, folder

    store = context.store
    try:
        container = None if platform else folder.find(store, image)
    except NotFound:
        container = None
    if container is not None:
        with changes.merged(store, container) as tree, output(path, "a tar") as sink:
            write(tree, sink)
        return
    found = store.image(store.resolve(image, platform))
    store.ensure_layers(found)
    with output(path, "a tar") as sink:
        export(store.layer_tars(found), sink)
