"""`info`: where everything is, and what is possible on this machine."""

from __future__ import annotations

import os

import click

from imagetool.commands.context import Context
from imagetool.commands.output import show_documents
from unionfs.annotations import Any


@click.command("info", epilog="\b\nExamples:\n  imagetool info\n  imagetool info -f '{{.DockerRootDir}}'")
@click.option("-f", "--format", metavar="TEMPLATE", help="'json' or a Go template.")
@click.pass_obj
def command(context: Context, format: str | None) -> None:
    """Show where everything is and what is possible here."""
    found = facts(context)
    if format is not None:
        show_documents([found], format)
        return
    for key, value in found.items():
        shown = ", ".join(value) if isinstance(value, list) else str(value)
        click.echo(f"{_title(key)}: {shown}")


def facts(context: Context) -> dict[str, Any]:
    """Every fact by the name that a template asks for it."""
    import platform

    from imagetool import __version__, mounts
    from imagetool.registry import config
    from imagetool.registry.credentials import Keyring
    from imagetool.spec import Platform
    from imagetool.store.disk import errors
    from imagetool.units import size_text
    from unionfs.mountpoint import may_mount

    store = context.store
    with errors("cannot look at the store"):
        space = os.statvfs(store.root)
        containers = len(os.listdir(store.layout.containers))
    return {
        "ServerVersion": __version__,
        "Images": len({row.image_id for row in store.summaries()}),
        "Containers": containers,
        "Mounts": len(mounts.listing(store)),
        "DockerRootDir": store.root,
        "FreeSpace": size_text(space.f_bavail * space.f_frsize),
        "Driver": "unionfs",
        "Fuse": os.access("/dev/fuse", os.R_OK | os.W_OK),
        "MountsDirectly": may_mount(),
        "ExtendedAttributes": _keeps_attributes(store.layout.temporary),
        "CredentialFiles": list(Keyring().paths),
        "RegistryRules": len(config.load().rules),
        "KernelVersion": platform.release(),
        "Platform": str(Platform.host()),
        "NCPU": len(os.sched_getaffinity(0)),
    }


def _keeps_attributes(directory: str) -> bool:
    """Whether a writable top layer can be here."""
    import xattr  # type: ignore[import-untyped]

    try:
        xattr.setxattr(directory, "user.imagetool.probe", b"y")
        xattr.removexattr(directory, "user.imagetool.probe")
    except OSError:
        return False
    return True


def _title(key: str) -> str:
    special = {"NCPU": "CPUs", "DockerRootDir": "Root Dir", "ServerVersion": "Version", "Fuse": "FUSE"}
    return special.get(key) or "".join(f" {c}" if c.isupper() else c for c in key).strip()
