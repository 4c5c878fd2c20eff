"""Find the files that come with wordmint: the graph, the commented settings, the embedded models and the example's pictures."""

from pathlib import Path

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]
EMBEDDED = ("emoji-ldm", "emoji-clip", "emoji-encoder", "emoji-eye")
"""The names by which params.yaml takes the embedded models."""


def shipped(*parts: str) -> Path:
    """Return the path of a shipped file or folder: beside this module in an installed wheel, or in the root of a checkout."""
    installed = HERE.joinpath(*parts)
    return installed if installed.exists() else CHECKOUT.joinpath(*parts)


def folder_of(model: str) -> Path | None:
    """Return the folder of a model: the path itself, or the folder of an embedded model; None for a model on the hub."""
    if model in EMBEDDED and not Path(model).is_dir():
        return shipped("data", "base", model)
    return Path(model) if Path(model).is_dir() else None
