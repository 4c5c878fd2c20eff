"""Sampling with classifier-free guidance, one generator per picture."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import torch
from PIL import Image
from torch import Tensor

from tasks.diffusion.base_model import BaseModel
from tasks.diffusion.devices import fast_bfloat16
from tasks.diffusion.families.parts import Condition
from tasks.diffusion.words import encode_prompts, unconditional

AfterStep = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(latents after a step, the noise that sampling started from, the latents' noise level) -> the latents to go on with."""

Watch = Callable[[Image.Image], object]
"""Is told what the first picture looks like so far."""
LOOKS = 3  # at the first picture while it is drawn; each costs a decoding


def unchanged(latents: Tensor, noise: Tensor, level: Tensor) -> Tensor:
    return latents


def guided(conditional: Tensor, unconditional: Tensor, guidance_scale: float) -> Tensor:
    """Classifier-free guidance (Ho & Salimans 2022): scale 1 is the conditional prediction."""
    return unconditional + guidance_scale * (conditional - unconditional)


def initial_noise(base: BaseModel, seeds: Sequence[int]) -> Tensor:
    """Return one picture's noise for each seed, drawn on the CPU so that a seed means the same on every device."""
    noise = [torch.randn(base.latent_shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(noise).to(base.device)


@torch.inference_mode()
def ddim_sample(
    base: BaseModel,
    noise: Tensor,
    prompts: Condition,
    nothing: Condition,
    num_inference_steps: int,
    guidance_scale: float,
    after_step: AfterStep = unchanged,
    glimpse: Callable[[Tensor], object] | None = None,
) -> Tensor:
    """Denoise latents with the sampler of the model's noise process: DDIM, or Euler for rectified flow.

    noise: (batch, channels, height, width). prompts: as many rows. nothing: the one row of no prompt. Returns latents like `noise`.
    glimpse: is told LOOKS times which latents without noise the prediction stands for.
    On a CPU that multiplies in bfloat16 the denoiser does too, which is 1.5 times as fast; words are learned in float32 there.
    """
    latents = noise
    in_bfloat16 = base.device.type == "cpu" and fast_bfloat16(base.device)  # on a GPU the weights are already
    if base.guidance_is_distilled:
        prompts, guidance_scale = prompts._replace(guidance=torch.full((len(noise),), float(guidance_scale), device=base.device)), 1
    both = nothing.repeat(len(noise)).followed_by(prompts)
    process = base.noise
    for number, step in enumerate(process.steps(num_inference_steps)):
        with torch.autocast("cpu", torch.bfloat16, enabled=in_bfloat16):
            if guidance_scale == 1:
                prediction = base.denoise(latents, step.timestep, prompts)
            else:
                without_prompt, with_prompt = base.denoise(torch.cat([latents, latents]), step.timestep, both).chunk(2)
                prediction = guided(with_prompt, without_prompt, guidance_scale)
        if glimpse and number and number % -(-num_inference_steps // (LOOKS + 1)) == 0:
            glimpse(process.clean(latents, prediction, step))
        latents = after_step(process.step(latents, prediction, step), noise, step.after)
    return latents


@torch.inference_mode()
def decode(base: BaseModel, latents: Tensor, batch_size: int | None = None) -> list[Image.Image]:
    """Return the pictures of latents (n, channels, height, width); a batch has by default the pixels of 16 pictures of 256 px."""
    pictures = []
    for part in latents.split(batch_size or max(1, 16 * 256**2 // base.resolution**2)):
        output = base.vae.decode(part / base.vae.config.scaling_factor + shift_of(base)).sample
        pixels = (output / 2 + 0.5).clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        pictures += [Image.fromarray(picture) for picture in pixels]
    return pictures


def generate(
    base: BaseModel,
    prompts: Sequence[str],
    seeds: Sequence[int],
    learned: Mapping[str, Tensor],
    num_inference_steps: int,
    guidance_scale: float,
    batch_size: int,
    after_step: AfterStep = unchanged,
    negative: str = "",
    watch: Watch | None = None,
) -> Iterator[Image.Image]:
    """Yield one picture for each pair of a prompt and a seed; different prompts share batches and are encoded once.

    `learned` maps placeholders to (vectors, dim). `batch_size` pictures are generated at once; a batch that a GPU's memory does not hold is
    drawn in halves. negative: a prompt that guidance leads away from.
    """
    texts = list(dict.fromkeys(prompts))
    rows = [texts.index(prompt) for prompt in prompts]
    conditions = encode_prompts(base, texts, learned)
    nothing = encode_prompts(base, [negative], learned) if negative else unconditional(base)

    def draw(part: slice) -> list[Image.Image]:
        noise, condition = initial_noise(base, seeds[part]), conditions.rows(rows[part])
        glimpse = (lambda clean: watch(decode(base, clean[:1])[0])) if watch and part.start == 0 else None
        try:
            return decode(base, ddim_sample(base, noise, condition, nothing, num_inference_steps, guidance_scale, after_step, glimpse))
        except torch.cuda.OutOfMemoryError:
            if len(noise) == 1:
                raise
        middle = (part.start + part.stop) // 2  # outside the handler, which keeps the failed batch's memory
        return draw(slice(part.start, middle)) + draw(slice(middle, part.stop))

    if base.device.type != "cpu":
        parts = even_parts(len(rows), batch_size)
        yield from chain.from_iterable(map(draw, parts))
        return
    # With small models, a batch for each core is half as fast again as one batch on all cores.
    cores = torch.get_num_threads()
    parts = even_parts(len(rows), -(-batch_size // cores), multiple=cores)
    pool = ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield from chain.from_iterable(pool.map(draw, parts))
    finally:
        pool.shutdown(cancel_futures=True)  # after an error, or if nobody takes the rest, only the pictures at work are finished


def even_parts(count: int, most: int, multiple: int = 1) -> list[slice]:
    """Cut `count` rows into parts of at most `most`, as equal as can be; their number is a multiple of `multiple` where there are enough rows."""
    number = min(count, -(-count // (most * multiple)) * multiple)
    return [slice(count * index // number, count * (index + 1) // number) for index in range(number)]


@torch.inference_mode()
def encode(base: BaseModel, pictures: Sequence[Image.Image]) -> tuple[Tensor, Tensor]:
    """Return the means and the standard deviations of pictures' scaled latents, each (n, channels, height, width)."""
    means, stds = [], []
    for picture in pictures:
        pixels = torch.frombuffer(bytearray(picture.convert("RGB").tobytes()), dtype=torch.uint8).view(1, picture.height, picture.width, 3)
        posterior = base.vae.encode((pixels.permute(0, 3, 1, 2).float() / 127.5 - 1).to(base.device)).latent_dist
        means.append(posterior.mean)
        stds.append(posterior.std)
    scale = base.vae.config.scaling_factor
    return (torch.cat(means) - shift_of(base)) * scale, torch.cat(stds) * scale


def shift_of(base: BaseModel) -> float:
    """Return what an autoencoder subtracts from its latents before it scales them; 0 for most."""
    return base.vae.config.get("shift_factor") or 0.0
