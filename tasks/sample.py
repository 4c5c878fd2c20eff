"""sample: the word is used in the prompts of its suite, beside what the prompts give without it."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from prefect import task
from prefect.cache_policies import NO_CACHE
from torch import Tensor

from tasks import artifacts, plots
from tasks.diffusion.base_model import BaseModel, load_base_model
from tasks.diffusion.ddim import generate
from tasks.inversion.embedding_file import lora_of, read_rows
from tasks.inversion.pivotal import adapted
from tasks.references import stand_ins, without_word
from tasks.settings import Settings, stage_version
from tasks.stage import run_stage


@task(task_run_name="sample-{concept}", cache_policy=NO_CACHE)
def sample(concept: str, settings: Settings, on_prompt: Callable[[], object] = lambda: None) -> Path:
    """Generate the pictures of one concept and return the path of samples.json."""
    draw(concept, artifacts.learned_embeds(concept), artifacts.samples(concept), settings, on_prompt)
    return artifacts.samples_record(concept)


def draw(concept: str, embedding: Path, place: Path, settings: Settings, on_prompt: Callable[[], object] = lambda: None) -> None:
    """Generate the pictures of a concept's embedding into the folder `place`."""
    base = load_base_model(settings.base.model, settings.base.revision, settings.runtime.device)
    rules, seeds, others = settings.sample, seeds_of(settings), stand_ins(concept, settings)
    prompts = {prompt: artifacts.prompt_slug(prompt) for prompt in settings.prompts(concept)}
    info = {"concept": concept, "model": base.identity["model"], "base_weights_sha256": base.identity["weights_sha256"]}
    texts = [prompt.format(settings.concept(concept).placeholder_token) for prompt in prompts]
    wordless = {f"prompt_only/{slug}": without_word(prompt) for prompt, slug in prompts.items()}
    compared = {f"{name}/{slug}": prompt.format(text) for name, text in others.items() for prompt, slug in prompts.items()}
    with artifacts.new_folder(place) as folder:
        (folder / "grids").mkdir()
        with adapted(base, lora_of(embedding)):
            for slug, text, pictures in zip(prompts.values(), texts, pictures_of(base, texts, seeds, read_rows(embedding), settings), strict=True):
                save_pictures(folder / "word" / slug, pictures, seeds, {**info, "prompt": text})
                plots.grid(pictures).save(folder / "grids" / f"{slug}.png")
                on_prompt()
        for references, some in ((wordless, seeds), (compared, seeds[: rules.reference_pictures])):
            places = reference_pictures(base, list(references.values()), some, settings)
            for name, text in references.items():
                shutil.copytree(places[text], folder / name)
        record = {
            "concept": concept,
            "embedding_digest": artifacts.sha256(embedding),
            "base": base.identity,
            "num_inference_steps": rules.num_inference_steps,
            "guidance_scale": rules.guidance_scale,
            "seeds": seeds,
            "prompts": [{"prompt": prompt, "slug": slug} for prompt, slug in prompts.items()],
            "references": others,
        }
        artifacts.write_json(folder / "samples.json", record)


def seeds_of(settings: Settings) -> list[int]:
    return list(range(settings.sample.seed, settings.sample.seed + settings.sample.pictures_per_prompt))


def pictures_of(
    base: BaseModel, prompts: Sequence[str], seeds: Sequence[int], learned: Mapping[str, Tensor], settings: Settings
) -> Iterator[list[Image.Image]]:
    """Yield each prompt's pictures in the order of their seeds."""
    rules = settings.sample
    each_prompt, each_seed = [prompt for prompt in prompts for _ in seeds], [seed for _ in prompts for seed in seeds]
    pictures = generate(base, each_prompt, each_seed, learned, rules.num_inference_steps, rules.guidance_scale, settings.runtime.pictures_per_batch)
    for _ in prompts:
        yield list(islice(pictures, len(seeds)))


def save_pictures(folder: Path, pictures: Sequence[Image.Image], seeds: Sequence[int], info: Mapping[str, str | None]) -> None:
    """Write pictures named by their seeds, with what made them in their PNG text."""
    folder.mkdir(parents=True, exist_ok=True)
    for picture, seed in zip(pictures, seeds, strict=True):
        text = PngInfo()
        for name, value in {**info, "seed": str(seed)}.items():
            text.add_text(name, value or "")
        picture.save(folder / f"{seed:06d}.png", pnginfo=text)


def reference_pictures(base: BaseModel, prompts: Sequence[str], seeds: Sequence[int], settings: Settings) -> dict[str, Path]:
    """Return the folder of each prompt's pictures without any new word; concepts share them, so they are generated once and kept."""
    rules, places = settings.sample, {}
    for prompt in prompts:
        key = [prompt, base.identity, list(seeds), rules.num_inference_steps, rules.guidance_scale, stage_version("sample"), base.device.type]
        places[prompt] = artifacts.references() / hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    missing = [prompt for prompt, place in places.items() if not place.exists()]
    for prompt, pictures in zip(missing, pictures_of(base, missing, seeds, {}, settings) if missing else (), strict=True):
        info = {"prompt": prompt, "model": base.identity["model"], "base_weights_sha256": base.identity["weights_sha256"]}
        if places[prompt].exists():  # another worker was faster
            continue
        with artifacts.new_folder(places[prompt]) as fresh:
            save_pictures(fresh, pictures, seeds, info)
    return places


if __name__ == "__main__":
    run_stage(sample.fn)
