"""`build`, `image build`: an image from a Dockerfile and a context."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import click

from imagetool.commands.context import Context, platform_option
from imagetool.errors import UsageError
from unionfs.annotations import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imagetool.build.display import Display
    from imagetool.build.engine import Built
    from imagetool.build.job import Find, Options
    from imagetool.build.outputs import Output
    from imagetool.spec import Descriptor, Platform
    from imagetool.store.read import Image


def _many(*names: str, help: str, metavar: str) -> Callable[[Any], Any]:
    return click.option(*names, multiple=True, metavar=metavar, help=help)


@click.command(
    "build",
    epilog="""\b
Examples:
  imagetool build -t demo .
  imagetool build -t demo:1.2 -f docker/Dockerfile --build-arg VERSION=1.2 .
  imagetool build --output type=local,dest=out --target binaries .
  tar c . | imagetool build -t demo -""",
)
@click.argument("place", metavar="PATH|-|URL")
@_many("-t", "--tag", "tags", metavar="NAME[:TAG]", help="A name for the image; several are possible.")
@click.option("-f", "--file", "dockerfile", metavar="FILE", help="The Dockerfile; PATH/Dockerfile.")
@_many(
    "--build-arg",
    "build_args",
    metavar="NAME[=VALUE]",
    help="A value for an ARG, or the one of the environment.",
)
@click.option("--target", default="", metavar="STAGE", help="The stage that becomes the image; the last.")
@click.option("--no-cache", is_flag=True, help="Carry out every step.")
@click.option("--pull", "pulling", is_flag=True, help="Look for newer images in the registry.")
@platform_option
@_many("--label", "labels", metavar="NAME=VALUE", help="A label for the image.")
@_many(
    "--secret", "secrets", metavar="id=NAME,src=FILE|env=VAR", help="A secret for RUN --mount=type=secret."
)
@_many("--ssh", "ssh", metavar="default|NAME=SOCKET", help="An agent for RUN --mount=type=ssh.")
@click.option(
    "--network",
    type=click.Choice(["default", "none", "host"]),
    default="default",
    help="The network of RUN steps; default is one of their own.",
)
@_many("--allow", "allowed", metavar="network.host|security.insecure", help="What a RUN may ask for.")
@_many("--cache-from", "cache_from", metavar="IMAGE", help="An image whose layers may be taken for steps.")
@click.option("--squash", is_flag=True, help="Make one layer of all new ones.")
@click.option("--iidfile", metavar="FILE", help="Write the image's ID to a file.")
@click.option(
    "--progress",
    type=click.Choice(["auto", "plain", "tty"]),
    default="auto",
    help="How to show what is done: steps that move on a terminal, or plain lines.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print the image's ID only.")
@click.option(
    "-o",
    "--output",
    "output",
    metavar="type=image|local|tar|oci[,dest=PATH]",
    help="Where the result goes; the store.",
)
@click.option("--debug-shell", is_flag=True, help="When a RUN fails, open a shell in its container.")
@click.option(
    "--top",
    type=click.Choice(["auto", "fuse", "overlay"]),
    default="auto",
    help="Who keeps the changes of a step; auto.",
)
@click.pass_obj
def command(context: Context, /, place: str, **given: Any) -> int:  # fmt: skip
    """Build an image from a Dockerfile."""
    from imagetool.build.errors import DockerfileError

    try:
        _build(context, place, given)
    except DockerfileError as error:  # the line with its caret is more than one line
        click.echo(f"Error: {error}", err=True)
        return error.exit_code
    return 0


def _build(context: Context, place: str, given: dict[str, Any]) -> None:
    from imagetool.build import contexts
    from imagetool.build.engine import build

    output = _output(given["output"])
    quiet = given["quiet"] or context.quiet
    options = _options(given, output.names if output else ())
    display = _display(
        given["progress"],
        quiet=quiet,
        stdout=output is None or output.path != "-",
        moving=not given["debug_shell"],  # whose shell has the terminal for itself
    )
    find = _finder(context, pulling=given["pulling"], quiet=quiet)
    stdin, dockerfile = sys.stdin.buffer, given["dockerfile"]
    store = context.become_root()  # all that follows is as it is for root
    with (
        store.lease() as lease,
        contexts.open_context(place, dockerfile, stdin, temporary=lease.temporary) as opened,
    ):
        finish = _writer(context, options, output) if output and output.kind != "image" else None
        built = build(store, opened, options, find, display, finish)
    _report(built, options, given["iidfile"], display, quiet=quiet)
    if output and output.push:
        _push(context, options.names)


def _output(text: str | None) -> Output | None:
    """None: the store."""
    if not text:
        return None
    from imagetool.build import outputs

    return outputs.parse(text)


def _options(given: dict[str, Any], more: Sequence[str]) -> Options:
    from imagetool import reference
    from imagetool.build import secrets
    from imagetool.build.job import Options

    unknown = set(given["allowed"]) - {"network.host", "security.insecure"}
    if unknown:
        raise UsageError(
            f"--allow {min(unknown)}: there is no such right", hint="network.host, security.insecure"
        )
    names = [str(reference.parse(name).tagged()) for name in (*given["tags"], *more)]
    return Options(
        tuple(dict.fromkeys(names)),
        _arguments(given["build_args"]),
        given["target"],
        given["platform"],
        _labels(given["labels"]),
        secrets.parse_secrets(given["secrets"]),
        secrets.parse_ssh(given["ssh"], os.environ),
        given["network"],
        frozenset(given["allowed"]),
        not given["no_cache"],
        given["cache_from"],
        given["squash"],
        given["debug_shell"],
        given["top"],
        _epoch(given["build_args"]),
    )


def _epoch(arguments: Sequence[str]) -> int | None:
    """SOURCE_DATE_EPOCH, as a build argument or in the environment."""
    text = _arguments(arguments).get("SOURCE_DATE_EPOCH", os.environ.get("SOURCE_DATE_EPOCH"))
    if text is None:
        return None
    from imagetool.archive.pack import epoch_of

    return epoch_of(text)


def _arguments(texts: Sequence[str]) -> dict[str, str]:
    rows = [text.partition("=") for text in texts]
    if not all(name for name, _, _ in rows):
        raise UsageError("a build argument needs a name", hint="--build-arg NAME=VALUE")
    return {
        name: value if equals else os.environ[name]
        for name, equals, value in rows
        if equals or name in os.environ
    }


def _labels(texts: Sequence[str]) -> dict[str, str]:
    if any(text.startswith("=") or not text for text in texts):
        raise UsageError("a label needs a name", hint="--label NAME=VALUE")
    return {key: value for key, _, value in (text.partition("=") for text in texts)}


def _display(kind: str, *, quiet: bool, stdout: bool, moving: bool) -> Display:
    from imagetool.build.display import Display
    from imagetool.build.live import Live

    stream = sys.stdout if stdout else sys.stderr
    colours = kind == "tty" or (
        kind == "auto" and stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    )
    live = Live(stream.fileno()) if colours and moving and not quiet and stream.isatty() else None
    return Display(None if quiet else stream.buffer, sys.stderr.buffer, colours=colours, live=live)


def _finder(context: Context, *, pulling: bool, quiet: bool) -> Find:
    def find(name: str, platform: Platform) -> Image:
        if not pulling and (there := _there(context, name, platform)):
            return there
        from imagetool import api

        when: api.When = "always" if pulling else "missing"
        target = api.have(
            context.store, name, platform, when, lambda: context.progress(quiet=quiet, err=True)
        )
        return context.store.image(target)

    return find


def _there(context: Context, name: str, platform: Platform) -> Image | None:
    """The image, if nothing has to be pulled: that is known at once."""
    from imagetool.errors import NotFound

    try:
        return context.store.image(context.store.resolve(name, platform))
    except NotFound:
        return None


def _writer(context: Context, options: Options, output: Output) -> Any:
    def finish(target: Descriptor) -> None:
        from imagetool.archive.save import Wanted
        from imagetool.build import outputs

        outputs.write(context.store, Wanted(target, options.names), output, sys.stdout.buffer)

    return finish


def _push(context: Context, names: Sequence[str]) -> None:
    from imagetool import api

    with context.progress(err=True) as progress:
        for name in names:
            api.push(name, store=context.store, progress=progress)


def _report(built: Built, options: Options, iidfile: str | None, display: Display, *, quiet: bool) -> None:
    from imagetool import reference
    from imagetool.store import disk

    if iidfile:
        with disk.errors(f"cannot write {iidfile}"), disk.new_file(iidfile) as file:
            file.write(built.image_id.encode())
    if quiet:
        click.echo(built.image_id)
        return
    display.line(f"Successfully built {built.image_id.partition(':')[2][:12]}")
    for name in options.names:
        display.line(f"Successfully tagged {reference.parse(name).familiar()}")
