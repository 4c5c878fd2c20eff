"""report: the catalog as one page that shows each word and how good it is."""

import argparse
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.drawing.page import write_page
from tasks.pipeline.door import one_line_errors, refuse_another_edition
from tasks.settings import Settings, load_settings


@task(task_run_name="report", cache_policy=NO_CACHE)
def report(settings: Settings) -> Path:
    """Write data/report/, which is self-contained, and return the path of its index.html."""
    return write_page(settings)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the catalog's report.")
    parser.add_argument("--edition", type=int, help="the edition of the stage, as dvc.yaml declares it")
    arguments = parser.parse_args()
    with one_line_errors():
        refuse_another_edition("report", arguments.edition)
        print(report.fn(load_settings()))
