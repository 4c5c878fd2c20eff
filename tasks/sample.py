"""sample: the word is used in the prompts of its suite, beside what the prompts give without it."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from prefect import task
from prefect.cache_policies import NO_CACHE
from safetensors.torch import load_file
from torch import Tensor

from tasks import artifacts
from tasks.diffusion.base_model import BaseModel, load_base_model
from tasks.diffusion.ddim import ddim_sample, decode, initial_noise
from tasks.diffusion.words import encode_prompts
from tasks.settings import Settings, stage_version
from tasks.stage import run_stage


@task(task_run_name="sample-{concept}", cache_policy=NO_CACHE)
def sample(concept: str, settings: Settings, on_prompt: Callable[[], object] = lambda: None) -> Path:
    """Generate the pictures of one concept and return the path of samples.json."""
    base = load_base_model(settings.base.model, settings.base.revision, settings.runtime.device)
    chosen, rules, prompts = settings.concept(concept), settings.sample, settings.prompts(concept)
    embedding = artifacts.learned_embeds(concept)
    learned = load_file(embedding)
    seeds = list(range(rules.seed, rules.seed + rules.pictures_per_prompt))
    info = {"concept": concept, "model": base.identity["model"], "base_weights_sha256": base.identity["weights_sha256"]}
    with artifacts.new_folder(artifacts.samples(concept)) as folder:
        for prompt in prompts:
            slug, text = artifacts.prompt_slug(prompt), prompt.format(chosen.placeholder_token)
            pictures = generate(base, text, learned, seeds, rules.num_inference_steps, rules.guidance_scale)
            save_pictures(folder / "word" / slug, pictures, seeds, {**info, "prompt": text})
            (folder / "grids").mkdir(exist_ok=True)
            grid(pictures).save(folder / "grids" / f"{slug}.png")
            copy_reference(folder / "prompt_only" / slug, base, without_word(prompt), seeds, settings)
            on_prompt()
        first = prompts[0]
        copy_reference(folder / "coarse_word" / artifacts.prompt_slug(first), base, first.format(chosen.initializer_token), seeds, settings)
        record = {
            "concept": concept,
            "embedding_digest": artifacts.sha256(embedding),
            "base": base.identity,
            "num_inference_steps": rules.num_inference_steps,
            "guidance_scale": rules.guidance_scale,
            "seeds": seeds,
            "prompts": [{"prompt": prompt, "slug": artifacts.prompt_slug(prompt)} for prompt in prompts],
        }
        artifacts.write_json(folder / "samples.json", record)
    return artifacts.samples_record(concept)


def without_word(prompt: str) -> str:
    """Return a prompt without its word and the word's article: `a photo of a {} on the moon` -> `a photo of on the moon`."""
    return " ".join(re.sub(r"(\b(an|a|the) )?\{\}", "", prompt).split())


def generate(
    base: BaseModel, prompt: str, learned: Mapping[str, Tensor], seeds: list[int], num_inference_steps: int, guidance_scale: float
) -> list[Image.Image]:
    """Generate one picture of a prompt for each seed; `learned` maps placeholders to (vectors, dim)."""
    hidden = encode_prompts(base, ["", prompt], learned)
    pictures = []
    for start in range(0, len(seeds), 16):
        noise = initial_noise(base, seeds[start : start + 16])
        conditional = hidden[1:].expand(len(noise), -1, -1)
        pictures += decode(base, ddim_sample(base, noise, conditional, hidden[:1], num_inference_steps, guidance_scale))
    return pictures


def save_pictures(folder: Path, pictures: list[Image.Image], seeds: list[int], info: Mapping[str, str | None]) -> None:
    """Write pictures named by their seeds, with what made them in their PNG text."""
    folder.mkdir(parents=True, exist_ok=True)
    for picture, seed in zip(pictures, seeds, strict=True):
        text = PngInfo()
        for name, value in {**info, "seed": str(seed)}.items():
            text.add_text(name, value or "")
        picture.save(folder / f"{seed:06d}.png", pnginfo=text)


def copy_reference(folder: Path, base: BaseModel, prompt: str, seeds: list[int], settings: Settings) -> None:
    """Bring the pictures of a prompt without any new word; concepts share them, so they are generated once and kept."""
    rules = settings.sample
    info = {"prompt": prompt, "model": base.identity["model"], "base_weights_sha256": base.identity["weights_sha256"]}
    key = [info, seeds, rules.num_inference_steps, rules.guidance_scale, stage_version("sample"), str(base.device.type)]
    cached = artifacts.references() / hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    if not cached.exists():
        pictures = generate(base, prompt, {}, seeds, rules.num_inference_steps, rules.guidance_scale)
        with artifacts.new_folder(cached) as fresh:
            save_pictures(fresh, pictures, seeds, info)
    shutil.copytree(cached, folder)


def grid(pictures: list[Image.Image], columns: int = 8) -> Image.Image:
    """Return pictures side by side, left to right and top to bottom."""
    width, height = pictures[0].size
    sheet = Image.new("RGB", (width * min(columns, len(pictures)), height * -(-len(pictures) // columns)), "white")
    for index, picture in enumerate(pictures):
        sheet.paste(picture, (index % columns * width, index // columns * height))
    return sheet


if __name__ == "__main__":
    run_stage(sample.fn)
