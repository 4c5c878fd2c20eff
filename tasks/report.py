"""report: the catalog as one page that shows every word and how good it is, and leads to the concepts' own pages."""

import argparse
from pathlib import Path

from tasks.drawing.index import write_index
from tasks.pipeline.door import one_line_errors, refuse_another_edition
from tasks.settings import Settings, load_settings


def report(settings: Settings) -> Path:
    """Write the report's index and return its path."""
    return write_index(settings)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the index of the catalog's report.")
    parser.add_argument("--edition", type=int, help="the edition of the stage, as dvc.yaml declares it")
    arguments = parser.parse_args()
    with one_line_errors():
        refuse_another_edition("report", arguments.edition)
        print(report(load_settings()))
