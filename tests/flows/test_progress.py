"""What a build shows on the terminal of an error."""

import io
import logging

import pytest
from rich.console import Console

from flows.outcome import BuildFailed, Outcome
from flows.progress import progress


@pytest.mark.filterwarnings("ignore:Logger .* attempted to send logs")
@pytest.mark.parametrize(
    ("error", "shown"),
    [(ValueError("no picture"), False), (OSError("no disk"), False), (BuildFailed(Outcome()), False), (None, False), (KeyError("bug"), True)],
)
def test_only_an_error_that_nobody_expected_has_a_traceback(error: Exception | None, shown: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORDMINT_TRACEBACK", raising=False)
    handler = logging.StreamHandler(terminal := io.StringIO())
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    run = logging.getLogger("prefect.flow_runs")
    with progress(Console(file=io.StringIO())):
        run.error("failed", exc_info=error)
        quiet = terminal.getvalue()
        run.warning("a remark")
    assert bool(quiet) == shown
    assert terminal.getvalue().endswith("a remark\n")
