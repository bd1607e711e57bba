"""What `--help` owes to its readers: a line for each command, examples, and a word on each option."""

from __future__ import annotations

import click
import pytest

from imagetool.cli import program


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    found: list[tuple[tuple[str, ...], click.Command]] = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            found += commands(command, (*path, name))
        else:
            found.append(((*path, name), command))
    return found


@pytest.mark.parametrize(
    ("path", "command"), [pytest.param(*row, id=" ".join(row[0])) for row in commands(program)]
)
def test_a_command_explains_itself(path: tuple[str, ...], command: click.Command) -> None:
    assert command.help
    examples = (command.epilog or "").partition("Examples:\n")[2]
    assert "imagetool " in examples
    silent = [each.opts[0] for each in command.params if isinstance(each, click.Option) and not each.help]
    assert silent == []


def test_the_first_lines_name_what_most_come_for() -> None:
    text = program.get_help(click.Context(program, info_name="imagetool"))
    first, *more = text.split("\n\n")[1:3]
    assert all(word in first for word in ("run", "build", "pull", "push"))
    assert "imagetool run" in more[0]
    assert "imagetool build" in more[0]


@pytest.mark.parametrize("group", ["image", "container", "volume", "builder", "system"])
def test_a_group_lists_its_commands_with_a_line_each(group: str) -> None:
    found = program.get_command(click.Context(program), group)
    assert isinstance(found, click.Group)
    text = found.get_help(click.Context(found, info_name=group))
    for name in found.list_commands(click.Context(found)):
        assert any(line.split()[:1] == [name] and len(line.split()) > 2 for line in text.splitlines()), name
