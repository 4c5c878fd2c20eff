"""Progressive extension (Gal et al. 2022, section 5.1): further vectors join an already trained one."""

from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from tasks.inversion.section import Section

if TYPE_CHECKING:  # settings are read before torch is needed
    from tasks.diffusion.base_model import BaseModel
    from tasks.inversion.training import Training


class Options(Section):
    add_at: tuple[int, ...] = Field(min_length=1)
    """Optimizer steps after each of which one more vector joins; `num_vectors` - 1 of them."""

    @model_validator(mode="after")
    def ascends(self) -> "Options":
        if any(later <= earlier for earlier, later in zip((0, *self.add_at), self.add_at, strict=False)):
            raise ValueError(f"add_at {list(self.add_at)} must count up, from 1 or later")
        return self


def prepare(base: "BaseModel", training: "Training", options: Options) -> "Training":
    """Let a word start with its first vector and take one more into its captions after each of the given steps.

    Raises:
        ValueError: the number of steps is not that of further vectors, or the last step is not before the training's end.
    """
    from tasks.inversion.data import caption_ids

    data, vectors, steps = training.data, len(training.trainable.rows), training.schedule.max_train_steps
    if len(options.add_at) != vectors - 1:
        raise ValueError(
            f"invert.options.add_at {list(options.add_at)} adds {len(options.add_at)} vectors to one;"
            f" set invert.num_vectors to {len(options.add_at) + 1}, not {vectors}"
        )
    if options.add_at[-1] >= steps:
        raise ValueError(f"invert.options.add_at {list(options.add_at)} must be before the last of {steps} optimizer steps")
    captions = [template.format(data.placeholder_token) for template in data.templates]
    input_ids = [caption_ids(base, captions, data.contexts, {data.placeholder_token: number + 1}) for number in range(vectors)]
    training.schedule.not_before = options.add_at[-1]
    data.captions = lambda step: input_ids[sum(step >= added for added in options.add_at)]
    return training
