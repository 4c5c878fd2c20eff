"""The graph's names: the stages of a concept in their order, and the number of what each computes."""

from pathlib import Path

import yaml

VERSIONS = Path(__file__).parents[1] / "versions.yaml"


def stage_version(stage: str) -> int:
    """Return the version number of what a stage computes."""
    return int(yaml.safe_load(VERSIONS.read_text(encoding="utf-8"))[stage])


STAGES = ("curate", "invert", "sample", "score", "register")
"""The stages of a concept in the graph's order."""
