"""What a tuning must not forget: pictures that the frozen base draws before it, which are learned beside the concept's.

Prior preservation draws the class (Ruiz et al. 2022, section 3.2). `Media` does the same for the word itself: a word that was learned from photos
still draws itself in other media, and a denoiser that is then tuned on these photos alone forgets to.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field

from tasks.artifacts import check_prompt
from tasks.inversion.section import Section

if TYPE_CHECKING:  # settings are read before torch is needed
    from torch import Tensor

    from tasks.diffusion.base_model import BaseModel
    from tasks.inversion.data import Data, Kept
    from tasks.words.learned import Learned

AT_ONCE = 8  # pictures generated at once
DRAWN: dict[tuple[object, ...], "Tensor"] = {}
"""What was drawn by whom -> the latents: concepts of one class share them."""


class Drawn(Section):
    """How the base model draws what is kept, and how much it counts."""

    weight: float = Field(gt=0, le=1_000)
    """The weight of their loss beside that of the concept's pictures."""
    num_inference_steps: int = Field(ge=1, le=500)
    """Sampling steps of such a picture."""
    guidance_scale: float = Field(ge=1, le=100)
    """Guidance of such a picture."""


class Preservation(Drawn):
    """How the class is kept."""

    pictures: int = Field(ge=1, le=10_000)
    """Pictures of the class, drawn once by the base model and shared by all concepts of the class."""


class Media(Drawn):
    """How the word's other media are kept. Each step learns one such picture beside the batch."""

    prompts: Annotated[tuple[Annotated[str, AfterValidator(check_prompt)], ...], Field(min_length=1)]
    """Prompts for other media than those of the pictures; {} is the word."""
    pictures: int = Field(ge=1, le=1_000)
    """Pictures of each prompt, drawn with the word when it is learned and nothing is tuned yet."""


def prior_of(base: "BaseModel", data: "Data", preservation: Preservation | None, concept: str) -> "tuple[Kept, ...]":
    """Return the base model's pictures of a concept's class word with their captions, or nothing where the class is not preserved.

    Raises:
        ValueError: the concept has no class word.
    """
    from tasks.diffusion.words import token_ids
    from tasks.inversion.data import Kept

    if preservation is None:
        return ()
    captions = [template.format(class_word_of(data, concept)) for template in data.templates]
    latents = class_pictures(base, captions[0], preservation.pictures, preservation.num_inference_steps, preservation.guidance_scale)
    return (Kept(latents, token_ids(base, captions, {})[None], data.batch_size, preservation.weight),)


def media_of(base: "BaseModel", word: "Learned", media: Media) -> "Kept":
    """Return what the frozen base draws of a learned word in other media, each picture with its prompt."""
    from tasks.diffusion.words import token_ids
    from tasks.inversion.data import Kept

    prompts = [prompt.format(word.placeholder_token) for prompt in media.prompts for _ in range(media.pictures)]
    seeds = list(range(media.pictures)) * len(media.prompts)
    latents = pictures_of(base, prompts, seeds, {word.placeholder_token: word.rows}, media.num_inference_steps, media.guidance_scale)
    return Kept(latents, token_ids(base, prompts, {word.placeholder_token: len(word.rows)})[:, None], 1, media.weight)


def class_word_of(data: "Data", concept: str) -> str:
    """Return the ordinary words that a concept's word starts as.

    Raises:
        ValueError: it starts as another concept or from its pictures.
    """
    if data.class_word is None:
        raise ValueError(f"{concept} has no class word, since it does not start as an ordinary word; set its initializer_token to one")
    return data.class_word


def class_pictures(base: "BaseModel", prompt: str, pictures: int, num_inference_steps: int, guidance_scale: float) -> "Tensor":
    """Return what the frozen base draws of a prompt: scaled latents (pictures, channels, height, width) on the CPU, drawn once in a process."""
    key = (base.identity["weights_sha256"], prompt, pictures, num_inference_steps, guidance_scale)
    if key not in DRAWN:
        DRAWN[key] = pictures_of(base, [prompt] * pictures, list(range(pictures)), {}, num_inference_steps, guidance_scale)
    return DRAWN[key]


def pictures_of(
    base: "BaseModel", prompts: list[str], seeds: list[int], learned: Mapping[str, "Tensor"], num_inference_steps: int, guidance_scale: float
) -> "Tensor":
    """Return what the frozen base draws of prompts, one picture of each, as latents like those of `class_pictures`; `learned` as in `generate`."""
    import torch

    from tasks.diffusion.ddim import ddim_sample, initial_noise
    from tasks.diffusion.words import encode_prompts, unconditional

    texts, nothing, drawn = list(dict.fromkeys(prompts)), unconditional(base), []
    conditions = encode_prompts(base, texts, learned)
    for part in (slice(start, start + AT_ONCE) for start in range(0, len(prompts), AT_ONCE)):
        condition = conditions.rows([texts.index(prompt) for prompt in prompts[part]])
        drawn.append(ddim_sample(base, initial_noise(base, seeds[part]), condition, nothing, num_inference_steps, guidance_scale).cpu())
    return torch.cat(drawn).clone()  # outside inference mode, so that they can be trained on
