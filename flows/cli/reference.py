"""Writing the reference pages docs/settings.md and docs/commands.md from the code: `python -m flows.cli.reference`."""

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tasks.inversion.methods import METHODS, method
from tasks.settings import Settings, load_settings
from tasks.shipped import shipped

DOCS = Path("docs")
WRITTEN = "<!-- written by `python -m flows.cli.reference`; edit the docstrings instead -->\n"


def settings_page() -> str:
    """Return docs/settings.md: every field of params.yaml with its rule, its shipped value and its meaning."""
    shown = load_settings(shipped("params.yaml")).model_dump(mode="json")
    lines = ["# Settings", "", WRITTEN]
    lines += ["`params.yaml` holds every number of a catalog. An unknown key, or a missing one without a default, is an error.", ""]
    for name, field in Settings.model_fields.items():
        model = model_of(field.annotation)
        if model is not None:
            value = next(iter(shown[name].values())) if name == "concepts" else shown[name]
            lines += section("concepts.KEY" if name == "concepts" else name, model, value)
    for name in METHODS:
        options = method(name).Options
        if options.model_fields:
            lines += section(f"invert.options of `{name}`", options, {})
    return "\n".join(lines)


def section(title: str, model: type[BaseModel], shown: dict[str, Any]) -> list[str]:
    """Return a heading and a table of a model's fields; a field that is a model has a table of its own."""
    lines, nested, meaning_of = [f"## {title}", "", "| key | values | shipped | meaning |", "|---|---|---|---|"], list[str](), meanings(model)
    for name, field in model.model_fields.items():
        value = f"`{json.dumps(shown[name])}`" if name in shown else ""
        inner = model_of(field.annotation)
        lines.append(f"| `{name}` | {rule(field)} | {value if len(value) < 60 else 'see params.yaml'} | {meaning_of.get(name, '')} |")
        if inner is not None and inner.model_fields:
            nested += section(f"{title}.{name}", inner, shown.get(name) or {})
    return [*lines, "", *nested]


def model_of(annotation: Any) -> type[BaseModel] | None:
    """Return the model in a field's annotation: the annotation itself, one of a union, or a dict's values."""
    inside = [inner for outer in get_args(annotation) for inner in (outer, *get_args(outer))]
    for part in (annotation, *inside):
        if inspect.isclass(part) and issubclass(part, BaseModel):
            return part
    return None


def rule(field: FieldInfo) -> str:
    """Return a field's type and the rules on its value, in a cell of a table."""
    rules = [kind(field.annotation)]
    signs = {"ge": ">= {}", "gt": "> {}", "le": "<= {}", "lt": "< {}", "min_length": "length >= {}", "pattern": "`{}`"}
    for constraint in field.metadata:
        for sign, text in signs.items():
            if (bound := getattr(constraint, sign, None)) is not None:
                rules.append(text.format(str(bound).replace("|", "\\|")))
    return ", ".join(rules)


def kind(annotation: Any) -> str:
    """Return what an annotation means in words: `tuple[int, ...] | None` is a list of whole numbers or null."""
    names = {int: "whole number", float: "number", str: "text", bool: "`true` or `false`", NoneType: "null"}
    outer, inside = get_origin(annotation), get_args(annotation)
    if outer is Annotated:
        return kind(inside[0])
    if outer in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(kind, inside)))
    if outer is Literal:
        return " or ".join(f"`{option}`" for option in inside)
    if outer is tuple:
        return f"list of {'' if Ellipsis in inside else f'{len(inside)} '}{kind(inside[0])}s"
    return names.get(annotation, "section")


def meanings(model: type[BaseModel]) -> dict[str, str]:
    """Return field -> the docstring below it, on one line."""
    docstrings: dict[str, str] = {}
    for owner in reversed([base for base in model.__mro__ if issubclass(base, BaseModel) and base is not BaseModel]):
        body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, below in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                docstrings[ast.unparse(field.target)] = " ".join(str(below.value.value).split()).replace("|", "\\|")
    return docstrings


def commands_page() -> str:
    """Return docs/commands.md: every command of `wordmint` with its arguments and options."""
    from flows.cli.main import app

    command = typer.main.get_command(app)
    lines = ["# Commands", "", WRITTEN, "Errors are one line on stderr and exit code 1. `WORDMINT_TRACEBACK=1` shows where one comes from.", ""]
    commands: dict[str, Any] = getattr(command, "commands")  # noqa: B009, typer's group is no class of click's for mypy
    for name in sorted(commands):
        lines += [f"## wordmint {name}", "", *described(name, commands[name]), ""]
    return "\n".join(lines)


def described(name: str, command: Any) -> Iterator[str]:
    """Yield the usage, the help and the parameters of a command."""
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    words = []
    for argument in arguments:
        word = (argument.metavar or argument.name.upper()) + ("..." if argument.nargs == -1 and not argument.metavar else "")
        words.append(word if argument.required else f"[{word}]")
    yield f"`{' '.join(['wordmint', name, *words])}`"
    yield ""
    yield " ".join(command.help.split())
    rows = [(f"`{word}`", argument.help or "") for word, argument in zip(words, arguments, strict=True)]
    for option in (parameter for parameter in command.params if parameter.param_type_name == "option"):
        flags = ", ".join(f"`{flag}`" for flag in (*option.opts, *option.secondary_opts))
        rows.append((flags, "; ".join(filter(None, [option.help, *unless_given(option)]))))
    if rows:
        yield from [
            "",
            "| | |",
            "|---|---|",
            *(f"| {cell(name)} | {cell(re.sub(r'(?<!`)<', '&lt;', text))} |" for name, text in rows),
        ]


def unless_given(option: Any) -> Iterator[str]:
    """Yield what holds for an option that is left out: it is required, a variable sets it, or it has a default."""
    if option.required:
        yield "required"
    if option.envvar:
        yield f"the variable `{option.envvar}` sets it too"
    if option.secondary_opts:
        yield f"`{(option.opts if option.default else option.secondary_opts)[0]}` by default"
    elif not isinstance(option.default, bool) and option.default not in (None, ""):
        values = option.default if isinstance(option.default, list) else [option.default]
        yield ", ".join(f"{value:g}" if isinstance(value, int | float) else f"`{value}`" for value in values) + " by default"


def cell(text: str) -> str:
    """Return a text as a table's cell, where a bar would end the cell."""
    return text.replace("|", "\\|")


def pages() -> dict[Path, str]:
    return {DOCS / "settings.md": settings_page().rstrip() + "\n", DOCS / "commands.md": commands_page().rstrip() + "\n"}


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
