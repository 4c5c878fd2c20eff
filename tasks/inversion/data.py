"""What a word is learned from: the concept's pictures, their captions, and noise from the training's own random numbers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from torch import Tensor

from tasks.diffusion.base_model import BaseModel
from tasks.diffusion.noise import NoiseProcess
from tasks.diffusion.words import token_ids


@dataclass(frozen=True)
class Prior:
    """Pictures of the class that the base model drew, which keep the tuned denoiser from forgetting it (Ruiz et al. 2022, section 3.2)."""

    latents: Tensor
    """(pictures, channels, height, width): scaled latents, on the CPU."""
    input_ids: Tensor
    """(captions, text encoders, length): the captions with the class word."""
    weight: float
    """The weight of their loss beside that of the concept's pictures."""


@dataclass
class Data:
    """A concept's pictures and captions, and how a step draws from them."""

    kind: Literal["object", "style"]
    placeholder_token: str
    templates: tuple[str, ...]
    contexts: tuple[str, ...]
    """What else each picture shows. The picture's captions end with it, so the word need not mean it. A single entry serves all pictures."""
    captions: Callable[[int], Tensor]
    """optimizer step -> token ids (pictures, templates, text encoders, length). A first dimension of 1 serves all pictures. The ids of the
    word's vectors start at the end of the vocabulary."""
    means: Tensor
    """(pictures, channels, height, width): the pictures' scaled latents, on the CPU since a large catalog's would fill a GPU."""
    stds: Tensor
    batch_size: int
    timesteps: tuple[float, float]
    """The part of the noise schedule that is trained on, in shares of the timesteps as the model's own training draws them, from no noise on."""
    generator: torch.Generator
    class_word: str | None
    """The ordinary words that the word starts as; None where it starts as another concept or from its pictures."""
    prior: Prior | None = None

    @property
    def pictures_per_step(self) -> int:
        return self.batch_size * (1 if self.prior is None else 2)


@dataclass(frozen=True)
class Batch:
    """What one training brings to one step. The first dimension is the number of its pictures."""

    input_ids: Tensor
    latents: Tensor
    noise: Tensor
    timesteps: Tensor
    weights: Tensor
    """(pictures,): the share of each picture's loss in the step's loss."""


def caption_ids(base: BaseModel, captions: Sequence[str], contexts: Sequence[str], words: Mapping[str, int]) -> Tensor:
    """Return the token ids of captions in each context: (contexts, captions, text encoders, length); `words` as in `token_ids`."""
    texts = [f"{caption} {context}".strip() for context in contexts for caption in captions]
    return token_ids(base, texts, words).unflatten(0, (len(contexts), len(captions)))


def draw_batch(data: Data, step: int, process: NoiseProcess, device: torch.device) -> Batch:
    """Draw pictures, captions, noise and timesteps for an optimizer step from the data's own generator."""
    generator, n, input_ids = data.generator, data.batch_size, data.captions(step)
    pictures = torch.randint(len(data.means), (n,), generator=generator)
    captions = torch.randint(input_ids.shape[1], (n,), generator=generator)
    shape = (n, *data.means.shape[1:])
    posterior_noise = torch.randn(shape, generator=generator)
    own = Batch(
        input_ids=input_ids[pictures % len(input_ids), captions],
        latents=data.means[pictures] + data.stds[pictures] * posterior_noise,
        noise=torch.randn(shape, generator=generator),
        timesteps=process.timesteps(spread(data.timesteps, torch.rand(n, generator=generator))),
        weights=torch.full((n,), 1 / n),
    )
    parts = [own] if data.prior is None else [own, draw_class(data.prior, data, process)]
    return Batch(*(torch.cat([getattr(part, part_of.name) for part in parts]).to(device) for part_of in fields(Batch)))


def draw_class(prior: Prior, data: Data, process: NoiseProcess) -> Batch:
    """Draw as many pictures of the class as of the concept."""
    generator, n = data.generator, data.batch_size
    pictures = torch.randint(len(prior.latents), (n,), generator=generator)
    return Batch(
        input_ids=prior.input_ids[torch.randint(len(prior.input_ids), (n,), generator=generator)],
        latents=prior.latents[pictures],
        noise=torch.randn(prior.latents[pictures].shape, generator=generator),
        timesteps=process.timesteps(spread(data.timesteps, torch.rand(n, generator=generator))),
        weights=torch.full((n,), prior.weight / n),
    )


def spread(bounds: tuple[float, float], shares: Tensor) -> Tensor:
    """Cut a range of shares into n equal parts and return one share from each: (n,).

    bounds: the range. shares: (n,) in [0, 1), the position inside each part.

    The gradient is steadier when a batch covers the range evenly, and every timestep stays as likely as it was.
    """
    low, high = bounds
    return low + (high - low) * ((torch.arange(len(shares)) + shares) / len(shares))


def fixed_batch(data: Data, step: int, pictures: int, process: NoiseProcess, device: torch.device) -> Batch:
    """Return the early stop's batch: the same pictures, noise and captions at every call, with timesteps in the middle of their parts."""
    batch = draw_batch(replace(data, batch_size=pictures, generator=torch.Generator().manual_seed(0), prior=None), step, process, device)
    middles = process.timesteps(spread(data.timesteps, torch.full((pictures,), 0.5)))
    return replace(batch, timesteps=middles.to(device))
