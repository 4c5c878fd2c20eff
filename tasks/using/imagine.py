"""Generating pictures with the words of a catalog."""

from pathlib import Path
from typing import NamedTuple

from tasks.settings import Settings
from tasks.using.champions import champions, owners_of, prompt_folder, words_in


class Imagined(NamedTuple):
    """A picture that was generated."""

    seed: int
    path: Path | None
    """None for a picture that is not among the best."""
    agreement: dict[str, float]
    """Its cosines with the text and with the pictures of each word; empty unless candidates are ranked."""


def imagine_pictures(
    prompt: str, number: int, seed: int, out: Path, settings: Settings, any_base: bool = False, candidates: int | None = None
) -> list[Imagined]:
    """Generate pictures of a prompt with the champions of its words; the files are named by the prompt and the seeds.

    candidates: how many to draw and rank; the best `number` are kept, the best one first. None draws `number` and keeps them all.

    Raises:
        ValueError: there are fewer candidates than pictures to keep, a word has no pictures to rank by, or see `champions`.
    """
    from tasks.diffusion.base_model import load_base_model
    from tasks.diffusion.ddim import generate
    from tasks.drawing.pictures import save_pictures
    from tasks.using.ranking import agreements, best_first

    if candidates is not None and candidates < number:
        raise ValueError(f"{number} pictures cannot be kept of {candidates} candidates; raise --candidates or lower --keep")
    words = words_in(prompt)
    owners = owners_of(words, settings)
    base = load_base_model(settings.base.model, settings.base.revision, settings.runtime.device)
    seeds = list(range(seed, seed + (candidates or number)))
    rules, batch_size = settings.sample, settings.runtime.pictures_per_batch
    with champions(words, base, settings, any_base) as learned:
        pictures = list(generate(base, [prompt] * len(seeds), seeds, learned, rules.num_inference_steps, rules.guidance_scale, batch_size))
    agreement = agreements(pictures, prompt, owners, settings) if candidates else [{} for _ in seeds]
    order = best_first(agreement)
    kept, folder = order[:number], out / prompt_folder(prompt)
    info = {"prompt": prompt, "model": base.identity["model"]}
    save_pictures(folder, [pictures[index] for index in kept], [seeds[index] for index in kept], info)
    return [Imagined(seeds[index], folder / f"{seeds[index]:06d}.png" if index in kept else None, agreement[index]) for index in order]
