"""The settings of each method of inversion, by its name; importing them imports no torch."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Options(BaseModel):
    """A method without settings of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class EarlyStop(Options):
    """When to stop before `max_train_steps`: the DVAR rule (Voronov et al. 2023) on a batch that never changes."""

    every: int = Field(ge=1)
    """Optimizer steps between two looks at the fixed batch's loss."""
    pictures: int = Field(ge=1)
    """In the fixed batch."""
    window: int = Field(ge=2)
    """Looks whose variance is compared."""
    ratio: float = Field(gt=0, lt=1)
    """Of the variance of all looks, below which the last ones' is nothing but noise."""


class Pick(Options):
    """The checkpoint picked by score, see tasks/inversion/picking.py."""

    every: int = Field(ge=1)
    """Optimizer steps between two probes."""
    pictures: int = Field(ge=1)
    """For each of three prompts."""
    num_inference_steps: int = Field(ge=1, le=500)
    guidance_scale: float = Field(ge=1)
    model: str
    """The scorer: an open_clip model name, or `local-dir:FOLDER`."""
    pretrained: str | None
    """Of an open_clip model the tag of its weights; of a folder the first digits of their SHA-256."""


class Progressive(Options):
    add_at: tuple[int, ...] = Field(min_length=1)
    """Optimizer steps after which one more vector joins; the last of `num_vectors` joins at the last."""

    @model_validator(mode="after")
    def ascends(self) -> "Progressive":
        if any(later <= earlier for earlier, later in zip((0, *self.add_at), self.add_at, strict=False)):
            raise ValueError(f"add_at {list(self.add_at)} must count up from 1")
        return self


class Regularised(Options):
    weight: float = Field(gt=0)
    """Of the squared distance to the coarse word."""


class Pivotal(Options):
    steps: int = Field(ge=1)
    """Of the optimizer, with the word held fast."""
    rank: int = Field(ge=1, le=128)
    """Of the LoRA."""
    learning_rate: float = Field(gt=0)


OPTIONS: dict[str, type[Options]] = {
    "textual_inversion": Options,
    "progressive": Progressive,
    "regularised": Regularised,
    "per_image": Options,
    "norm_held": Options,
    "pivotal": Pivotal,
}


class Invert(Options):
    method: str
    """A name in the package tasks.inversion.methods."""
    options: dict[str, Any]
    """The method's own, see tasks/inversion/options.py."""
    num_vectors: int = Field(ge=1, le=64)
    """Embedding vectors of a word."""
    max_train_steps: int = Field(ge=1)
    """Optimizer steps, the cap of an early stop."""
    batch_size: int = Field(ge=1)
    """Pictures in a step, drawn with replacement."""
    learning_rate: float = Field(gt=0)
    """Of AdamW, constant."""
    timesteps: tuple[Annotated[float, Field(ge=0, le=1)], Annotated[float, Field(ge=0, le=1)]]
    """The part of the noise schedule that is trained on, in shares from no noise to pure noise; the paper takes all of it."""
    average_last: float = Field(ge=0, le=1)
    """The share of the steps, from the end, over which the vectors are averaged; 0 takes the last ones."""
    early_stop: EarlyStop | None
    """When to stop before the cap; null never does."""
    pick: Pick | None
    """Which of the steps is published: the one that scored best in a small probe; null takes the last."""
    seed: int = Field(ge=0)

    @model_validator(mode="after")
    def suits_the_method(self) -> "Invert":
        if self.timesteps[0] >= self.timesteps[1]:
            raise ValueError(f"timesteps {list(self.timesteps)} must be a range from less to more noise")
        if self.method not in OPTIONS:
            raise ValueError(f"method {self.method!r} is unknown; choose one of {', '.join(OPTIONS)}")
        OPTIONS[self.method].model_validate(self.options)
        return self
