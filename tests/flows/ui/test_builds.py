"""Builds that the app starts and stops."""

import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows.ui import builds
from tasks.pipeline import device, fingerprints, repository
from tasks.pipeline.device import catalog_turn
from tasks.settings import Settings, load_settings


def test_a_second_build_is_refused(settings: Settings) -> None:
    with pytest.raises(ValueError, match="nobody"):
        builds.start(["nobody"], settings)
    with catalog_turn(), pytest.raises(ValueError, match="is running"):
        builds.start([], settings)
    assert not builds.STARTED


def test_a_build_that_has_not_begun_counts_as_running(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int | None] = [None]
    monkeypatch.setattr(builds, "STARTED", [])
    monkeypatch.setattr(builds.subprocess, "Popen", lambda *arguments, **options: SimpleNamespace(pid=1, poll=lambda: ended[0]))
    builds.start([], settings)
    builds.LOG.write_text("of the first")
    with pytest.raises(ValueError, match="is running"):
        builds.start([], settings)
    assert builds.watched()["starting"] and builds.LOG.read_text() == "of the first"
    ended[0] = 1
    builds.start([], settings)
    assert len(builds.STARTED) == 2


def test_a_build_of_another_process_is_stopped_as_ctrl_c_does(settings: Settings) -> None:
    with pytest.raises(ValueError, match="no build is running"):
        builds.cancel()
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as other:
        with catalog_turn():
            device.HOLDER.write_text(str(other.pid))
            builds.cancel()
        assert other.wait(120) == -signal.SIGTERM


@pytest.mark.slow
def test_dvc_is_asked_once_about_what_changed(catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, asked = load_settings(), []
    really = repository.stale_among

    def stale_among(*arguments: object) -> dict[str, list[str]]:
        asked.append(arguments)
        return really(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(repository, "stale_among", stale_among)
    assert builds.stale(settings) == builds.stale(settings)
    assert list(builds.stale(settings)) == ["fox", "ink"] and len(asked) == 1
    with catalog_turn():
        assert builds.stale(settings) == {"fox": {}, "ink": {}}
    fingerprints.remember(fingerprints.fingerprints_of(["fox", "ink"]))
    assert builds.stale(settings) == {} and len(asked) == 1
