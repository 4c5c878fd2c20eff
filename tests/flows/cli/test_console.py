"""What other people wrote is printed as it is, and never acts on the terminal."""

import io

import pytest
from rich.table import Table

from flows.cli.console import PlainConsole
from tasks.pipeline.door import one_line_errors

HOSTILE = "[/x] [red]r[/red] :smile: \x1b[31m \u202e\udce9"
SHOWN = "[/x] [red]r[/red] :smile: \\x1b[31m \\u202e\\udce9"


def test_brackets_are_no_markup_and_control_characters_are_escaped() -> None:
    console = PlainConsole(markup=False, emoji=False, file=io.StringIO(), width=200)
    table = Table(HOSTILE, title=HOSTILE)
    table.add_row(HOSTILE)
    console.print(HOSTILE, soft_wrap=True)
    console.print(table)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert said.count(SHOWN) == 4 and said.isascii() is False  # the table's rules are not ASCII
    assert not set("\x1b\u202e\udce9") & set(said)


def test_the_commands_print_through_it() -> None:
    from flows.cli import catalog, lineage, main, people, pictures, sharing, versions, words
    from flows.cli.console import console

    assert isinstance(console, PlainConsole) and not console._markup and not console._emoji
    assert all(module.console is console for module in (catalog, lineage, main, people, pictures, sharing, versions, words))


def test_an_error_is_one_line_whatever_it_names() -> None:
    with pytest.raises(SystemExit) as ended, one_line_errors():
        raise ValueError(f"a\nb {HOSTILE}")
    assert ended.value.code == f"error: a b {SHOWN}"
