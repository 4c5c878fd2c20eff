"""A method of inversion by a stranger, who knows of wordmint what docs/methods.md says: each step goes back a little to where it started."""

from typing import Any

from pydantic import Field

from tasks.inversion.section import Section


class Options(Section):
    back: float = Field(gt=0, lt=1)
    """The share of each step that is taken back."""


def prepare(base: Any, training: Any, options: Options) -> Any:
    start = training.trainable.rows.detach().clone()

    def after_step(word: Any) -> None:
        word.rows.data.lerp_(start, options.back)

    training.trainable.after_step = after_step
    return training
