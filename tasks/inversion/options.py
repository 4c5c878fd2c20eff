"""The section `invert` of params.yaml. Importing it imports no torch."""

from typing import Annotated, Any

from pydantic import Field, SerializeAsAny, ValidationInfo, field_validator, model_validator

from tasks.inversion.methods import method
from tasks.inversion.section import SEEDS, Section

FROM_PICTURES = "<from-pictures>"
"""The initializer_token of a word that starts as the encoder's word for the concept's pictures."""


class EarlyStop(Section):
    """When to stop before `max_train_steps`: the DVAR rule (Voronov et al. 2023) on a batch that never changes."""

    every: int = Field(ge=1, le=1_000_000)
    """Optimizer steps between two looks at the fixed batch's loss."""
    pictures: int = Field(ge=1, le=1_000)
    """Pictures in the fixed batch."""
    window: int = Field(ge=2, le=1_000_000)
    """Last looks whose variance is compared."""
    ratio: float = Field(gt=0, lt=1)
    """Training stops when the last looks vary less than this share of the variance of all looks."""


class Pick(Section):
    """How the published step is picked by score, see tasks/inversion/picking.py."""

    every: int = Field(ge=1, le=1_000_000)
    """Optimizer steps between two probes."""
    pictures: int = Field(ge=1, le=1_000)
    """Pictures of each of three prompts."""
    num_inference_steps: int = Field(ge=1, le=500)
    """Sampling steps of a probe's picture."""
    guidance_scale: float = Field(ge=1, le=100)
    """Guidance of a probe's picture."""
    model: str
    """The scorer: an open_clip model name, `local-dir:FOLDER`, or `emoji-clip`, which comes with wordmint."""
    pretrained: str | None
    """The tag of an open_clip model's weights, or the first digits of the SHA-256 of a folder's weights."""


class Invert(Section):
    method: str
    """One of the methods in docs/methods.md, or the dotted name of a module with a method of your own."""
    options: SerializeAsAny[Section]
    """The method's own settings, the `Options` of its module."""
    num_vectors: int = Field(ge=1, le=64)
    """Embedding vectors of a word."""
    max_train_steps: int = Field(ge=1, le=10_000_000)
    """Optimizer steps; an early stop may end the training sooner."""
    batch_size: int = Field(ge=1, le=1_000)
    """Pictures in a step, drawn with replacement."""
    learning_rate: float = Field(gt=0, le=10)
    """The constant rate of AdamW."""
    timesteps: tuple[Annotated[float, Field(ge=0, le=1)], Annotated[float, Field(ge=0, le=1)]]
    """The part of the noise schedule that is trained on, in shares from no noise to pure noise; the paper takes all of it."""
    average_last: float = Field(ge=0, le=1)
    """The share of the steps, from the end, over which the vectors are averaged; 0 takes those of the last step."""
    early_stop: EarlyStop | None
    """When to stop before `max_train_steps`; null never stops early."""
    pick: Pick | None
    """Publishes the step that scored best in a small probe; null publishes the last."""
    text_encoders: tuple[str, ...] | None = Field(default=None, min_length=1)
    """The text encoders that learn the word: clip_l, clip_g, t5xxl or qwen3. The others read the ordinary word. null: all learn it."""
    seed: int = Field(ge=0, lt=SEEDS)
    """The seed of a word's pictures, captions, noise and timesteps."""

    @field_validator("options", mode="before")
    @classmethod
    def of_the_method(cls, options: Any, info: ValidationInfo) -> Any:
        if "method" not in info.data:  # an unknown method is an error already
            return Section()
        module = method(info.data["method"])
        return module.Options.model_validate(options.model_dump() if isinstance(options, Section) else options)

    @field_validator("method")
    @classmethod
    def is_known(cls, name: str) -> str:
        method(name)
        return name

    @model_validator(mode="after")
    def has_a_range(self) -> "Invert":
        if self.timesteps[0] >= self.timesteps[1]:
            raise ValueError(f"timesteps {list(self.timesteps)} must be a range from less to more noise")
        return self


def check_start(concept: str, initializer_token: str, method: str, encoder: str | None) -> None:
    """Check that a concept's method has the start that it needs.

    Raises:
        ValueError: the concept starts from pictures without an encoder, or its method is `encoder` and it starts from something else.
    """
    if initializer_token == FROM_PICTURES and encoder is None:
        raise ValueError(f"initializer_token {FROM_PICTURES} of {concept} needs an encoder; name one in base.encoder, or give it an ordinary word")
    if method == "encoder" and initializer_token != FROM_PICTURES:
        raise ValueError(
            f"invert.method encoder starts from pictures, and initializer_token of {concept} is {initializer_token!r};"
            f" set it to {FROM_PICTURES}, or choose another method"
        )
