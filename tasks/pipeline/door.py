"""The door that `dvc repro` uses: run one stage for one concept from the command line, without Prefect."""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks import artifacts
from tasks.concepts.rights import read_rights
from tasks.pipeline.device import device_lock
from tasks.pipeline.graph import edition
from tasks.settings import Settings, load_settings


def run_stage(stage: Callable[[str, Settings], Path]) -> None:
    """Run `stage` for `--concept KEY`; an error of the user's is one line and exit code 1."""
    parser = argparse.ArgumentParser(description=(stage.__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--concept", required=True, help="a key under concepts in params.yaml")
    parser.add_argument("--edition", type=int, help="of the stage, as dvc.yaml declares it")
    asked = parser.parse_args()
    concept = asked.concept
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with one_line_errors():
        refuse_another_edition(Path(sys.argv[0]).stem, asked.edition)
        settings = load_settings()
        settings.concept(concept)
        refuse_revoked(concept)
        read_rights(concept)  # better now than after an hour of training
        with device_lock(settings.runtime.device):
            print(stage(concept, settings))


def refuse_another_edition(stage: str, asked: int | None) -> None:
    """Stop a stage that a catalog declares in another edition than this wordmint computes; without one it is asked for by hand.

    Raises:
        ValueError: it does.
    """
    if asked is not None and asked != edition(stage):
        raise ValueError(f"dvc.yaml asks for edition {asked} of {stage}, this wordmint computes {edition(stage)}; run `wordmint upgrade`")


def refuse_revoked(concept: str) -> None:
    """Stop a stage of a concept that was revoked, as far as this machine knows; `dvc repro` has no way to skip one.

    Raises:
        ValueError: its record says so.
    """
    record = artifacts.registered(concept)
    if record.exists() and (why := artifacts.read_json(record).get("revoked")):
        raise ValueError(f"concept {concept!r} was revoked: {why}; `wordmint reinstate {concept}` brings it back, `dvc repro --keep-going` goes on")


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn an expected error into one line on stderr and exit code 1."""
    try:
        yield
    except (ValueError, OSError, FloatingPointError) as error:
        if os.environ.get("WORDMINT_TRACEBACK"):
            raise
        sys.exit(f"error: {error}")
