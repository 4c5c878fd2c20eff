"""Other ways to the same pictures, which the paper compares or measures in its appendix A: none of them is a stage of a concept.

- bipartite: DDIM inversion of a training picture under "a photo of S*", then another prompt from the same noise (appendix A; Ramesh et al. 2022).
- variations: pictures from the embedding of one picture, without any training, as DALLE-2 varies a picture (section 4.1).
- clip-guided: diffusion without a prompt, which starts in a training picture and follows the gradient of a CLIP (section 4.2; Crowson 2021).
- palavra: a word found in that CLIP's text space by its own loss (Cohen et al. 2022), drawn by guidance of that CLIP alone (section 4.2).
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from tasks import artifacts
from tasks.concepts.stand_ins import without_word
from tasks.diffusion.base_model import BaseModel, load_base_model
from tasks.diffusion.ddim import ddim_sample, decode, encode, generate
from tasks.diffusion.ddim_inversion import ddim_invert
from tasks.diffusion.noise.ddpm import Denoising
from tasks.diffusion.words import encode_prompts, unconditional
from tasks.drawing.pictures import save_pictures
from tasks.inversion.encoder import load_encoder
from tasks.judging.judge import read_features
from tasks.settings import Settings
from tasks.similarity.eye import load_eye
from tasks.similarity.scorer import load_scorer
from tasks.similarity.scores import editability, reconstruction
from tasks.study.cells import Cell, Plan
from tasks.study.comparisons import Result
from tasks.study.guide import Guide, clip_guided, load_guide, word_of
from tasks.words.learned import read_learned

EDITION = 1  # raise it when a rival draws something else

Drawn = Mapping[str, list[Image.Image]]
"""Prompt -> its pictures."""


@dataclass(frozen=True)
class Subject:
    """A thing, and what the rivals draw it with."""

    base: BaseModel
    guide: Guide
    plan: Plan
    settings: Settings
    coarse_word: str
    word: dict[str, Tensor]
    """The placeholder of the word that the setup `plain` learned -> its vectors."""
    prompts: Sequence[str]
    pictures: list[Image.Image]
    """Its curated pictures, which have the base model's resolution."""

    @property
    def latents(self) -> Tensor:
        return encode(self.base, self.pictures)[0]

    @property
    def number(self) -> int:
        """Pictures of a prompt: as many as with the coarse word, for some rivals take seconds for each."""
        return self.settings.sample.reference_pictures

    def each_picture(self) -> list[int]:
        """Return which training picture each of a prompt's pictures starts from."""
        return [number % len(self.pictures) for number in range(self.number)]


def bipartite(subject: Subject, guidance_scale: float) -> Drawn:
    """Draw every prompt from the noise that leads to each training picture under the first prompt."""
    base, steps = subject.base, subject.plan.num_inference_steps
    (placeholder,) = subject.word
    conditions = encode_prompts(base, [prompt.format(placeholder) for prompt in subject.prompts], subject.word)
    latents, nothing = subject.latents, unconditional(base)
    noise = ddim_invert(base, latents, conditions.rows([0] * len(latents)), steps)
    return {
        prompt: decode(base, ddim_sample(base, noise, conditions.rows([row] * len(noise)), nothing, steps, guidance_scale))
        for row, prompt in enumerate(subject.prompts)
    }


def variations(subject: Subject) -> Drawn:
    """Draw every prompt with the encoder's word of one training picture at a time."""
    base, seeds = subject.base, list(range(subject.number))
    encoder = load_encoder(str(subject.settings.base.encoder), base)
    with torch.inference_mode():
        words = {f"<picture-{number}>": encoder.word(latent[None, None]) for number, latent in enumerate(subject.latents)}
    of_pictures = [list(words)[number] for number in subject.each_picture()]
    texts = [prompt.format(word) for prompt in subject.prompts for word in of_pictures]
    steps, batch = subject.plan.num_inference_steps, subject.settings.runtime.pictures_per_batch
    drawn = generate(base, texts, seeds * len(subject.prompts), words, steps, subject.settings.sample.look(base.look)[1], batch)
    return {prompt: [next(drawn) for _ in seeds] for prompt in subject.prompts}


def from_a_picture(subject: Subject) -> Drawn:
    """Draw every prompt, with the ordinary word in it, by the guide's gradient from a noisy training picture."""
    starts = subject.latents[subject.each_picture()]
    texts = {prompt: subject.guide.text_features(prompt.format(subject.coarse_word)) for prompt in subject.prompts}
    return by_gradient(subject, texts, starts)


def palavra(subject: Subject) -> Drawn:
    """Draw every prompt by the guide's gradient alone, with a word that the guide's text space has for the pictures."""
    word = word_of(subject.guide, subject.pictures, subject.coarse_word)
    texts = {prompt: subject.guide.text_features(prompt.format(subject.coarse_word), {subject.coarse_word: word}) for prompt in subject.prompts}
    return by_gradient(subject, texts, None)


def by_gradient(subject: Subject, texts: Mapping[str, Tensor], starts: Tensor | None) -> Drawn:
    base, guide, number, plan = subject.base, subject.guide, subject.number, subject.plan
    return {prompt: decode(base, clip_guided(base, guide, text, starts, number, plan)) for prompt, text in texts.items()}


def rivals_of(base: BaseModel, plan: Plan, settings: Settings) -> dict[str, Callable[[Subject], Drawn]]:
    """Return the name of each rival -> what draws it."""
    scales = (1.0, settings.sample.look(base.look)[1], plan.guided.guidance_scale)
    rivals: dict[str, Callable[[Subject], Drawn]] = {f"bipartite-{scale:g}": partial(bipartite, guidance_scale=scale) for scale in scales}
    if settings.base.encoder:
        rivals["variations"] = variations
    if isinstance(base.noise, Denoising):
        rivals |= {"clip-guided": from_a_picture, "palavra": palavra}
    return rivals


def measure(plan: Plan, settings: Settings) -> Iterator[Result]:
    """Draw and score what is stale, and yield the result of each rival and thing; the working directory is the study's catalog."""
    base = load_base_model(*settings.base_model)
    guide, prompts = load_guide(plan, settings), settings.sample.prompts.object
    rules = [plan.guided.guidance_scale, *(part.model_dump(mode="json") for part in (settings.sample, settings.scorer, settings.score))]
    for thing, coarse_word in plan.things.items():
        plain = Cell("setup", "plain", thing, plan.seeds[0])
        learned = read_learned(artifacts.learned_embeds(plain.key))
        pictures = [Image.open(path).convert("RGB") for path in sorted(artifacts.curated(plain.key).glob("*.png"))]
        subject = Subject(base, guide, plan, settings, coarse_word, {learned.placeholder_token: learned.rows}, prompts, pictures)
        word_digest = artifacts.sha256(artifacts.learned_embeds(plain.key))
        inputs = [EDITION, word_digest, base.identity, guide.identity["weights_sha256"], plan.guide.model_dump(), rules, list(prompts), coarse_word]
        digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
        for name, draw in rivals_of(base, plan, settings).items():
            cell = Cell("rival", name, thing, plan.seeds[0])
            folder = artifacts.rival(cell.name)
            if not (folder / "scores.json").exists() or artifacts.read_json(folder / "scores.json")["digest"] != digest:
                with artifacts.new_folder(folder) as new:
                    started = time.monotonic()
                    for prompt, drawn in draw(subject).items():
                        save_pictures(new / artifacts.prompt_slug(prompt), drawn, range(len(drawn)), {"prompt": prompt, "rival": name})
                    seconds = time.monotonic() - started
                    scores = score(new, artifacts.curated(plain.key), prompts, plan, settings)
                    artifacts.write_json(new / "scores.json", {"digest": digest, "seconds": round(seconds, 1), "scores": scores})
            record = artifacts.read_json(folder / "scores.json")
            yield Result(*cell, scores=record["scores"], train={"seconds": record["seconds"]})


def score(folder: Path, curated: Path, prompts: Sequence[str], plan: Plan, settings: Settings) -> dict[str, Any]:
    """Return the scores of a rival's pictures as the stage `score` has them, without intervals and bounds."""
    scorer = load_scorer(settings.scorer.model, settings.scorer.pretrained, settings.runtime.device)
    folders = [folder / artifacts.prompt_slug(prompt) for prompt in prompts]
    first, *edits = [read_features(scorer, place) for place in folders]
    texts = scorer.text_features([without_word(prompt) for prompt in prompts[1:]])
    obeyed = fmean(editability(features, text, plan.pictures_per_prompt) for features, text in zip(edits, texts, strict=True))
    scores = {"reconstruction": {"value": reconstruction(first, read_features(scorer, curated))}, "editability": {"value": obeyed}}
    if rules := settings.score.fidelity:
        eye = load_eye(rules.model, rules.revision, settings.runtime.device)
        value, *edited = [reconstruction(read_features(eye, place), read_features(eye, curated)) for place in folders]
        scores["fidelity"] = {"value": value, "edited": fmean(edited)}
    return scores
