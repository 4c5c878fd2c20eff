"""Draw pictures of prompts and write them with the settings that made them."""

from collections.abc import Generator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from tasks.diffusion.base_model import BaseModel
from tasks.diffusion.ddim import generate
from tasks.settings import Settings


def seeds_of(settings: Settings) -> list[int]:
    return list(range(settings.sample.seed, settings.sample.seed + settings.sample.pictures_per_prompt))


def pictures_of(
    base: BaseModel, prompts: Sequence[str], seeds: Sequence[int], learned: Mapping[str, Tensor], settings: Settings
) -> Generator[list[Image.Image]]:
    """Yield each prompt's pictures in the order of the seeds."""
    look = settings.sample.look(base.look)
    each_prompt, each_seed = [prompt for prompt in prompts for _ in seeds], [seed for _ in prompts for seed in seeds]
    pictures = generate(base, each_prompt, each_seed, learned, *look, settings.runtime.pictures_per_batch)
    for _ in prompts:
        yield list(islice(pictures, len(seeds)))


def save_pictures(folder: Path, pictures: Sequence[Image.Image], seeds: Sequence[int], info: Mapping[str, str | None]) -> None:
    """Write pictures named by their seeds, with `info` and the seed as PNG text."""
    folder.mkdir(parents=True, exist_ok=True)
    for picture, seed in zip(pictures, seeds, strict=True):
        text = PngInfo()
        for name, value in {**info, "seed": str(seed)}.items():
            text.add_text(name, value or "")
        picture.save(folder / f"{seed:06d}.png", pnginfo=text)
