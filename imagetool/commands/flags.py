"""PURE: switches with a value, as Docker takes them: `--rm=false`, `--pause=true`."""

from __future__ import annotations

from collections.abc import Sequence

import click

_WORDS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


def plain(command: click.Command, arguments: Sequence[str], *, interspersed: bool) -> list[str]:
    """The same arguments with each `--switch=VALUE` as the command has it. What is no option stays as it is.

    interspersed: options may also follow the first argument; else that ends them, as with `run IMAGE COMMAND`.
    """
    options = {name: one for one in command.params if isinstance(one, click.Option)
               for name in (*one.opts, *one.secondary_opts)}  # fmt: skip
    found: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--" or (not interspersed and (not word.startswith("-") or word == "-")):
            return [*found, word, *rest]
        name, equals, value = word.partition("=")
        switch = options.get(name)
        if switch is not None and switch.is_flag and equals and value.lower() in _WORDS:
            found += _spelled(switch, name, on=_WORDS[value.lower()])
            continue
        found.append(word)
        if rest and _wants_more(options, word):
            found.append(rest.pop(0))
    return found


def _spelled(switch: click.Option, name: str, *, on: bool) -> list[str]:
    if on:
        return [name]
    return [switch.secondary_opts[0]] if switch.secondary_opts and name in switch.opts else []


def _wants_more(options: dict[str, click.Option], word: str) -> bool:
    """Whether the next word is this option's value: `--name web`, `-e A=1`, `-itw /tmp`."""
    if word.startswith("--"):
        return word in options and not options[word].is_flag
    letters = [options.get(f"-{letter}") for letter in word[1:]] if word.startswith("-") else []
    for place, one in enumerate(letters):
        if one is not None and not one.is_flag and not one.count:
            return place == len(letters) - 1
    return False
