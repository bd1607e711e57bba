"""imagetool.late: nobody sees that a module was not there from the start."""

from __future__ import annotations

import inspect
import subprocess
import sys
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagetool import late

START = "import sys\nfrom imagetool import late\nwith late.modules():\n    import click\n"


def said(code: str) -> list[str]:
    """What a new interpreter prints, in which click has been imported with late modules."""
    argv = [sys.executable, "-c", START + dedent(code)]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()


def test_options_with_help_bring_nothing_in() -> None:
    code = """
        option = click.Option(["--x"], help="One line.")
        click.Command("c", params=[option], callback=lambda x: print(x)).main(["--x", "1"], standalone_mode=False)
        print(sorted({"ast", "platform", "locale"} & set(sys.modules)))
    """
    assert said(code) == ["1", "[]"]


@pytest.mark.parametrize(
    "use",
    [
        "import inspect; inspect.signature",
        "from inspect import signature",
        "from inspect import *; signature",
        "click.core.inspect.signature",
        "click.core.inspect.cleandoc('two\\n  lines')",
    ],
)
def test_whatever_is_asked_brings_the_module_in(use: str) -> None:
    code = f"""
        {use}
        import inspect
        print(inspect.__spec__.name, type(inspect).__name__, click.core.inspect.signature is inspect.signature)
    """
    assert said(code) == ["inspect module True"]


def test_an_option_can_still_be_a_uuid() -> None:
    code = """
        import uuid
        print(type(click.UUID("a" * 32)) is uuid.UUID, click.types.uuid.UUID is uuid.UUID)
    """
    assert said(code) == ["True True"]


def test_texts_are_those_of_no_catalogue() -> None:
    code = """
        print(click.core._("One {x}"), click.core.ngettext("a", "b", 1), click.core.ngettext("a", "b", 2))
        import gettext
        print(gettext.NullTranslations.__name__)
        import gettext
        print(gettext.__spec__.name)
    """
    assert said(code) == ["One {x} a b", "NullTranslations", "gettext"]


def test_threads_that_ask_at_once_get_the_same() -> None:
    code = """
        from threading import Barrier, Thread
        sys.setswitchinterval(1e-6)
        together, found = Barrier(8), []
        def ask():
            together.wait()
            found.append(click.core.inspect.signature)
        threads = [Thread(target=ask) for _ in range(8)]
        for one in threads: one.start()
        for one in threads: one.join()
        import inspect
        print(len(found), set(found) == {inspect.signature})
    """
    assert said(code) == ["8 True"]


def test_what_is_there_already_stays() -> None:
    before = sys.modules["inspect"]
    with late.modules():
        assert sys.modules["inspect"] is before


@given(st.text(alphabet=" \t\nab\r\x0b", max_size=12))
def test_help_texts_lose_the_same_margin(text: str) -> None:
    assert late._Inspect("inspect").cleandoc(text) == inspect.cleandoc(text)
