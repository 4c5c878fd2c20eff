"""The reference pages say what the code says."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from flows.cli import reference
from tasks.inversion.methods import progressive
from tasks.inversion.options import Invert
from tasks.settings import Concept, Prompts, Register, Sample, Settings
from tests.support.catalogs import ROOT


@pytest.mark.parametrize("page", ["settings.md", "commands.md"])
def test_a_reference_page_is_current(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert reference.pages()[Path("docs") / page] == (ROOT / "docs" / page).read_text(encoding="utf-8"), "run `make docs`"


def test_every_setting_and_command_is_there() -> None:
    settings, commands = reference.settings_page(), reference.commands_page()
    for section, field in Settings.model_fields.items():
        model = reference.model_of(field.annotation)
        assert model is not None, section
        assert all(f"| `{name}` |" in settings for name in model.model_fields)
    for command in ("init", "upgrade", "build", "imagine", "lineage", "prune", "serve"):
        assert f"## wordmint {command}\n" in commands
    assert "| `runtime" not in settings and "of AdamW".lower() in settings.lower()


@pytest.mark.parametrize(
    ("model", "field", "rule"),
    [
        (Register, "floor", "`true` or `false`"),
        (Register, "promote", "`by_hand` or `when_better`"),
        (Concept, "invert", "section or null"),
        (Invert, "text_encoders", "list of texts or null, length >= 1"),
        (Invert, "timesteps", "list of 2 numbers"),
        (progressive.Options, "add_at", "list of whole numbers, length >= 1"),
        (Prompts, "style", "list of texts, length >= 2"),
        (Sample, "num_inference_steps", "whole number or null, >= 1, <= 500"),
    ],
)
def test_a_setting_has_the_type_that_it_takes(model: type[BaseModel], field: str, rule: str) -> None:
    assert reference.rule(model.model_fields[field]) == rule


@pytest.mark.parametrize(
    ("command", "row"),
    [
        ("edit", "| `--mask` | as large as the picture, white where it is edited; required |"),
        ("reimagine", "a low one keeps the structure; 1, 2, 4 by default |"),
        ("imagine", "| `--out` | folder for the pictures; `imagined` by default |"),
        ("imagine", "| `--negative` | what the pictures should not show |"),
        ("serve", "; `0 3 * * *` by default |"),
        ("ui", "| `--browser`, `--no-browser` | open the page in a browser; `--browser` by default |"),
        ("ui", "; the variable `WORDMINT_UI_TOKEN` sets it too |"),
        ("show", "| `NAME` | the concept's key |"),
    ],
)
def test_a_command_says_what_it_requires_and_what_it_takes_otherwise(command: str, row: str) -> None:
    assert row in reference.commands_page().partition(f"## wordmint {command}\n")[2].partition("\n## ")[0]
