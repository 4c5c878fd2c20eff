"""A concept's page in the report, the curves that DVC draws, and its card, which holds what the index shows of it."""

from functools import cache
from pathlib import Path, PurePath
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tasks import artifacts
from tasks.concepts.stand_ins import STAND_INS
from tasks.drawing import plots
from tasks.drawing.curve import loss_plot, write_curves
from tasks.drawing.sprites import sprite
from tasks.inversion.curves import TRAINING, read_curves
from tasks.registry.promotion import SCORES
from tasks.settings import Settings

SHOWN = {"word": "word", "word_alone": "the denoiser untuned", **STAND_INS, "prompt_only": "Prompt-Only"}
"""The folder of each kind of a prompt's pictures -> its name on the page."""


def write_page(concept: str, settings: Settings) -> Path:
    """Write a concept's page, which needs no file outside of its folder, its card and its curves; return the path of the page."""
    curves = read_curves(artifacts.embeddings(concept) / TRAINING)
    with artifacts.new_folder(artifacts.page(concept)) as folder:
        content = gather(concept, settings, folder)
        drawn = {"concept": content, "shown": SHOWN, "bullets": plots.bullets(content["score"]), "curve": loss_plot(curves, content["train"])}
        html = templates().get_template("page.html.j2").render(settings=settings, **drawn)
        (folder / "index.html").write_text(html.lstrip(), encoding="utf-8", newline="\n")
    write_curves(concept, curves)
    artifacts.write_json(artifacts.card(concept), card(content))
    return artifacts.page(concept) / "index.html"


@cache
def templates() -> Environment:
    found = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    found.filters |= {"number": "{:.3f}".format, "portable": portable}
    return found


def gather(key: str, settings: Settings, folder: Path) -> dict[str, Any]:
    """Return what the page shows of a concept, and write its pictures to `folder`; pictures that this machine lacks are None."""
    paths = {"train": artifacts.train_record(key), "samples": artifacts.samples_record(key), "registered": artifacts.registered(key)}
    content = {name: artifacts.read_json(path) for name, path in paths.items()}
    slugs = {prompt["prompt"]: prompt["slug"] for prompt in content["samples"]["prompts"]}
    earlier = artifacts.page(key)
    content["curated"] = sprite(artifacts.curated(key), folder, earlier)
    content["score"] = {"fidelity": None} | artifacts.read_json(artifacts.scores(key))
    content["prompts"] = []
    for prompt in content["score"]["prompts"]:
        folders = {name: artifacts.samples(key) / name / slugs.get(prompt["prompt"], "") for name in SHOWN}
        content["prompts"].append(prompt | {name: sprite(pictures, folder, earlier) for name, pictures in folders.items()})
    return {"key": key} | settings.concept(key).model_dump() | content


def card(content: dict[str, Any]) -> dict[str, Any]:
    """Return what the index shows of a concept: its scores, its version, its first samples, and what made it, by its records."""
    score, train, samples = content["score"], content["train"], content["samples"]
    made_by = {"base model": train["base"], "scorer": score["scorer"]} | ({"fidelity by": score["scorer"]["fidelity"]} if score["fidelity"] else {})
    facts = {name: f"{portable(model['model'])} @ {model['weights_sha256'][:8]}" for name, model in made_by.items()}
    facts["samples"] = "{sampler}, {num_inference_steps} steps, guidance {guidance_scale:g}, {count} pictures a prompt".format(
        **{"sampler": "DDIM"} | samples, count=len(samples["seeds"])
    )
    return {
        **{name: content[name] for name in ("key", "placeholder_token", "kind", "registered")},
        "embedding_digest": score["embedding_digest"],
        "cover": content["prompts"][0]["word"],
        "facts": facts | {"method": train["method"]},
        "scores": {name: score[name] for name in SCORES if score.get(name)},
    }


def portable(model: str) -> str:
    """Return a model's name without open_clip's prefix; of an absolute path, only the last part."""
    name = model.removeprefix("local-dir:")
    return PurePath(name).name if PurePath(name).is_absolute() else name
