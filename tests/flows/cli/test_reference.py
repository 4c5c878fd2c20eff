"""The reference pages say what the code says."""

from pathlib import Path

import pytest

from flows.cli import reference
from tasks.settings import Settings
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
