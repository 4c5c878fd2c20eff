"""The command line of a stage, which `dvc repro` calls: one stage for one concept, without Prefect."""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks import artifacts
from tasks.concepts.rights import read_rights
from tasks.pictures.names import printable
from tasks.pipeline.blockers import explained
from tasks.pipeline.device import device_lock
from tasks.pipeline.graph import edition
from tasks.registry.connection import plain_errors
from tasks.settings import Settings, load_settings

MENDABLE = (ValueError, OSError, FloatingPointError)
"""The errors that a person can mend; their text says how."""


def run_stage(stage: Callable[[str, Settings], Path], learns: bool = True) -> None:
    """Run `stage` for `--concept KEY`; an error that the user can mend is one line and exit code 1.

    learns: whether the stage makes a result, which a revoked concept or one without declared rights does not get, or shows it.
    """
    parser = argparse.ArgumentParser(description=(stage.__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--concept", required=True, help="a key under concepts in params.yaml")
    parser.add_argument("--edition", type=int, help="the edition of the stage in dvc.yaml")
    arguments = parser.parse_args()
    concept = arguments.concept
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with one_line_errors():
        refuse_another_edition(Path(sys.argv[0]).stem, arguments.edition)
        settings = load_settings()
        settings.concept(concept)
        if not learns:
            print(stage(concept, settings))
            return
        refuse_revoked(concept)
        read_rights(concept)  # missing rights stop the stage now, not after an hour of training
        with device_lock(settings.runtime.device):
            print(stage(concept, settings))


def refuse_another_edition(stage: str, declared: int | None) -> None:
    """Stop a stage if dvc.yaml declares another edition than this wordmint computes; a stage that is run by hand has no declared edition.

    Raises:
        ValueError: the editions differ.
    """
    if declared is not None and declared != edition(stage):
        raise ValueError(f"dvc.yaml asks for edition {declared} of {stage}, this wordmint computes {edition(stage)}; run `wordmint upgrade`")


def refuse_revoked(concept: str) -> None:
    """Stop a stage of a revoked concept; `dvc repro` has no way to skip one.

    Raises:
        ValueError: the concept's record on this machine says that it is revoked.
    """
    record = artifacts.registered(concept)
    if record.exists() and (why := artifacts.read_json(record).get("revoked")):
        raise ValueError(
            f"concept {concept!r} was revoked: {why}; `wordmint reinstate {concept}` brings it back, `dvc repro --keep-going` builds the others"
        )


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn an expected error into one line on stderr and exit code 1, and Ctrl-C into one line and exit code 130."""
    try:
        with plain_errors():
            yield
    except KeyboardInterrupt:
        print("interrupted; what is finished stays, and the same command goes on from there", file=sys.stderr)
        sys.exit(130)
    except MENDABLE as error:
        if os.environ.get("WORDMINT_TRACEBACK"):
            raise
        sys.exit(f"error: {printable(' '.join(explained(error).splitlines()))}")
