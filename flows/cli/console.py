"""How commands print."""

import json
from typing import Any

from rich.console import Console
from rich.text import Text

from tasks.pictures.names import printable


class PlainConsole(Console):
    """Prints text as it is: brackets and colons in it are no markup, and control characters are escaped. What has a style is a `Text`."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)


console = PlainConsole(markup=False, emoji=False)


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


def interval(score: dict[str, float | None] | None) -> str:
    """Return a score with its interval, where it has one; "-" for one that was not measured."""
    if score is None:
        return "-"
    bounds = "" if score["low"] is None or score["high"] is None else f" [{score['low']:.3f}, {score['high']:.3f}]"
    return f"{score['value']:.3f}{bounds}"


def bounded(score: dict[str, float] | None) -> str:
    """Return a score and the two references that it lies between: pictures without the word, and the training pictures themselves."""
    if score is None:
        return "-"
    ends = [f"{end:.2f}".replace("0.", ".", 1) for end in sorted((score["prompt_only"], score["image_only"]))]
    return f"{score['value']:.3f} {'-'.join(ends)}"
