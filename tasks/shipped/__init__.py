"""Files that come with wordmint: the graph, the commented settings, the embedded models and the example's pictures."""

from pathlib import Path

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]
EMBEDDED = ("emoji-ldm", "emoji-clip")
"""The embedded models, which params.yaml takes by these names."""


def shipped(*parts: str) -> Path:
    """Return where a shipped file or folder lies: beside this module in an installed wheel, in the root of a checkout."""
    installed = HERE.joinpath(*parts)
    return installed if installed.exists() else CHECKOUT.joinpath(*parts)


def folder_of(model: str) -> Path | None:
    """Return the folder that a model is in: the path itself, or the place of an embedded model; None of a model of the hub."""
    if model in EMBEDDED and not Path(model).is_dir():
        return shipped("data", "base", model)
    return Path(model) if Path(model).is_dir() else None
