"""`login`: ask a registry whether it accepts credentials, and keep them."""

from __future__ import annotations

import sys

import click

from imagetool.commands.context import Context, insecure_option
from imagetool.errors import UsageError


@click.command(
    "login",
    epilog="""\b
Examples:
  imagetool login quay.io
  echo "$TOKEN" | imagetool login -u robot --password-stdin registry.example:5000""",
)
@click.argument("registry", metavar="[REGISTRY]", default="docker.io")
@click.option("-u", "--username", metavar="NAME", help="Who you are there.")
@click.option(
    "-p", "--password", metavar="PASSWORD", help="Better not: others can see it. See --password-stdin."
)
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@insecure_option
@click.pass_obj
def command(
    context: Context, registry: str, username: str | None, password: str | None, password_stdin: bool,
    insecure: bool,
) -> None:  # fmt: skip
    """Log in to a registry, by default docker.io."""
    import getpass

    if password_stdin and password is not None:
        raise UsageError("--password and --password-stdin exclude each other")
    if password_stdin and username is None:
        raise UsageError("--password-stdin needs --username")
    if password is not None:
        context.note("WARNING! Using --password via the CLI is insecure. Use --password-stdin.")
    if not sys.stdin.isatty() and (username is None or (password is None and not password_stdin)):
        raise UsageError(
            "cannot ask for a password: standard input is not a terminal", hint="use --password-stdin"
        )
    if username is None:
        username = _asked("Username: ")
    if password_stdin:
        password = sys.stdin.read().rstrip("\r\n")
    elif password is None:
        password = getpass.getpass("Password: ")
    if not username or not password:
        raise UsageError("a user name and a password are needed")
    place = _login(_domain(registry), username, password, insecure)
    if place.startswith("/"):
        context.note(f"WARNING! Your credentials are stored unencrypted in '{place}'.")
    click.echo("Login Succeeded")


def _domain(registry: str) -> str:
    """Without what people copy along from a browser."""
    from imagetool.registry.config import domain_of

    domain = registry.removeprefix("https://").removeprefix("http://").partition("/")[0]
    if not domain:
        raise UsageError(f"{registry!r} is not a registry", hint="give HOST or HOST:PORT")
    return "docker.io" if domain == "index.docker.io" else domain_of(domain)


def _login(domain: str, username: str, password: str, insecure: bool) -> str:
    import trio

    from imagetool.registry import config, login, remote
    from imagetool.registry.credentials import Credentials

    registries = config.load()
    if insecure:
        registries = registries.insecurely(domain)

    async def run() -> str:
        async with remote.connect(registries=registries) as there:
            given = Credentials(username, password)
            return await login.login(there.client, there.keyring, there.registries, domain, given)

    return trio.run(run)


def _asked(prompt: str) -> str:
    click.echo(prompt, nl=False)
    return sys.stdin.readline().strip()
