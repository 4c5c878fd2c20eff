"""Prior preservation (Ruiz et al. 2022, section 3.2): a tuning learns pictures of the class, drawn by the frozen base, beside the concept's."""

from typing import TYPE_CHECKING

from pydantic import Field

from tasks.inversion.section import Section

if TYPE_CHECKING:  # settings are read before torch is needed
    from torch import Tensor

    from tasks.diffusion.base_model import BaseModel
    from tasks.inversion.data import Data, Prior

AT_ONCE = 8  # pictures generated at once
DRAWN: dict[tuple[object, ...], "Tensor"] = {}
"""What was drawn by whom -> the latents: concepts of one class share them."""


class Preservation(Section):
    """How the class is kept."""

    pictures: int = Field(ge=1, le=10_000)
    """Pictures of the class, drawn once by the base model and shared by all concepts of the class."""
    weight: float = Field(gt=0, le=1_000)
    """The weight of their loss beside that of the concept's pictures."""
    num_inference_steps: int = Field(ge=1, le=500)
    """Sampling steps of a picture of the class."""
    guidance_scale: float = Field(ge=1, le=100)
    """Guidance of a picture of the class."""


def prior_of(base: "BaseModel", data: "Data", preservation: Preservation | None, concept: str) -> "Prior | None":
    """Return the base model's pictures of a concept's class word and their captions, or None where nothing is preserved.

    Raises:
        ValueError: the concept has no class word.
    """
    from tasks.diffusion.words import token_ids
    from tasks.inversion.data import Prior

    if preservation is None:
        return None
    captions = [template.format(class_word_of(data, concept)) for template in data.templates]
    latents = class_pictures(base, captions[0], *(value for name, value in preservation if name != "weight"))
    return Prior(latents, token_ids(base, captions, {}), preservation.weight)


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
    import torch

    from tasks.diffusion.ddim import ddim_sample, initial_noise
    from tasks.diffusion.words import encode_prompts, unconditional

    key = (base.identity["weights_sha256"], prompt, pictures, num_inference_steps, guidance_scale)
    if key not in DRAWN:
        prompts, nothing, drawn = encode_prompts(base, [prompt]), unconditional(base), []
        for seeds in torch.arange(pictures).split(AT_ONCE):
            noise = initial_noise(base, seeds.tolist())
            drawn.append(ddim_sample(base, noise, prompts.repeat(len(noise)), nothing, num_inference_steps, guidance_scale).cpu())
        DRAWN[key] = torch.cat(drawn).clone()  # outside inference mode, so that they can be trained on
    return DRAWN[key]
