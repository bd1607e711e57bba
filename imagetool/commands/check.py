"""`system check`: is everything in the store what it should be?"""

from __future__ import annotations

import click

from imagetool.commands.context import FAILED, Context


@click.command(
    "check",
    epilog="""\b
Examples:
  imagetool system check
  imagetool system check --repair""",
)
@click.option(
    "--repair", is_flag=True, help="Rebuild what can be rebuilt, and name what must be pulled again."
)
@click.pass_obj
def command(context: Context, repair: bool) -> None:
    """Verify every blob, layer, index and reference. Exits with 125 if something is wrong."""
    from imagetool.store import check

    problems = []
    for problem in check.check(context.store):
        problems.append(problem)
        if not repair:
            click.echo(_line(problem))
    found = len(problems)
    if repair:
        problems = check.repair(context.store, problems)
        for problem in problems:
            click.echo(_line(problem))
        context.note(
            f"{found - len(problems)} of {found} problems repaired" if found else "no problems found"
        )
    elif not found:
        context.note("no problems found")
    if problems:
        raise click.exceptions.Exit(FAILED)


def _line(problem: object) -> str:
    from imagetool.store.check import Problem

    assert isinstance(problem, Problem)
    whom = f" [{', '.join(problem.images)}]" if problem.images else ""
    return f"{problem.text}: {problem.remedy.value}{whom}"
