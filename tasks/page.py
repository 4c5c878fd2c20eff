"""page: a concept's page in the report, with its pictures and its scores."""

from pathlib import Path

from tasks.drawing.page import write_page
from tasks.pipeline.door import run_stage
from tasks.settings import Settings


def page(concept: str, settings: Settings) -> Path:
    """Write the concept's page and its card, and return the path of the page."""
    return write_page(concept, settings)


if __name__ == "__main__":
    run_stage(page, learns=False)
