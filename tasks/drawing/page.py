"""The report: the catalog as one page, what was minted and how good it is."""

import shutil
from pathlib import Path, PurePath
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from tasks import artifacts
from tasks.concepts.stand_ins import STAND_INS
from tasks.drawing import plots
from tasks.settings import Settings

SHOWN = {"word": "word", **STAND_INS, "prompt_only": "Prompt-Only"}
"""The pictures of a prompt: their folder, and their name for a person."""
MAX_SIDE = 256  # px of a picture in a sprite
PIXEL_ART = 128  # px; up to here pictures are kept lossless and enlarged with hard edges


def write_page(settings: Settings) -> Path:
    """Write data/report/, which needs nothing outside itself, and return the path of its index.html."""
    minted = [key for key in settings.concepts if artifacts.scores(key).exists()]
    pages = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    pages.filters |= {"number": "{:.3f}".format, "portable": portable}
    with artifacts.new_folder(artifacts.REPORT) as folder:
        concepts = [gather(key, settings, folder) for key in minted]
        content = {"concepts": concepts, "missing": [key for key in settings.concepts if key not in minted], "facts": facts(concepts)}
        content |= plots.draw([concept["score"] for concept in concepts]) | {"compositions": compositions(concepts, folder)}
        html = pages.get_template("page.html.j2").render(settings=settings, shown=SHOWN, **content)
        (folder / "index.html").write_text(html.lstrip(), encoding="utf-8", newline="\n")
    return artifacts.REPORT / "index.html"


def gather(key: str, settings: Settings, folder: Path) -> dict[str, Any]:
    """Return what the page says about a concept and write its pictures to `folder`; what is not on this machine is empty."""
    paths = {"train": artifacts.train_record(key), "samples": artifacts.samples_record(key), "registered": artifacts.registered(key)}
    found = {name: artifacts.read_json(path) if path.exists() else {} for name, path in paths.items()}
    slugs = {prompt["prompt"]: prompt["slug"] for prompt in found["samples"].get("prompts", [])}
    found["curated"], found["score"] = sprite(artifacts.curated(key), folder), artifacts.read_json(artifacts.scores(key))
    found["prompts"] = []
    for prompt in found["score"]["prompts"]:
        folders = {name: artifacts.samples(key) / name / slugs.get(prompt["prompt"], "") for name in SHOWN}
        found["prompts"].append(prompt | {name: sprite(pictures, folder) for name, pictures in folders.items()})
    return {"key": key} | settings.concept(key).model_dump() | found


def compositions(concepts: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """Return what `wordmint compose` found of the present words: the pairs with their pictures, and a triangle of them by concept."""
    digests = {concept["key"]: concept["score"]["embedding_digest"] for concept in concepts}
    found: dict[frozenset[str], dict[str, Any]] = {}
    for path in sorted(artifacts.COMPOSITIONS.glob("*/composition.json")):
        pair = artifacts.read_json(path)
        if [digests.get(key) for key in pair["concepts"]] == pair["made_of"]["embedding_digests"]:
            found[frozenset(pair["concepts"])] = pair | {"pictures": sprite(path.parent, folder)}
    names = [key for key in digests if any(key in pair for pair in found)]
    rows = [(name, [found.get(frozenset((name, other))) for other in names[:index]]) for index, name in enumerate(names)]
    return {"names": names[:-1], "rows": rows[1:], "pairs": list(found.values())}


def facts(concepts: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Return what the records, not params.yaml, say made the catalog; more than one value means that it is mixed."""
    train, samples = ([concept[name] for concept in concepts if concept[name]] for name in ("train", "samples"))
    models = {"base model": [record["base"] for record in train], "scorer": [concept["score"]["scorer"] for concept in concepts]}
    found = {name: [f"{portable(used['model'])} @ {used['weights_sha256'][:8]}" for used in all_used] for name, all_used in models.items()}
    sampling = "DDIM, {num_inference_steps} steps, guidance {guidance_scale:g}, {count} pictures a prompt"
    found |= {"samples": [sampling.format(**x, count=len(x["seeds"])) for x in samples], "method": [record["method"] for record in train]}
    return {name: sorted(set(values)) for name, values in found.items()}


def sprite(pictures: Path, folder: Path) -> dict[str, Any] | None:
    """Draw a folder's pictures, if any, as one file and say where; it is named by content, so shared references are written once."""
    paths = sorted(pictures.glob("*.png"))
    if not paths:
        return None
    with Image.open(paths[0]) as first:
        side, prompt = min(first.width, MAX_SIDE), first.info.get("prompt", "")
    name = f"pictures/{pictures.name}-{artifacts.folder_digest(pictures, '*.png')[:12]}-{plots.COLUMNS}x{side}.webp"
    if not (folder / name).exists():
        (folder / "pictures").mkdir(exist_ok=True)
        if (artifacts.REPORT / name).exists():  # the page before showed it too
            shutil.copyfile(artifacts.REPORT / name, folder / name)
        else:
            # Without loss method 0 takes a fifth of method 2's time, for 22 % more bytes; with loss 2 takes half of the default's, for 8 % more.
            lossless = side <= PIXEL_ART
            plots.sheet(paths, side).save(folder / name, lossless=lossless, quality=85, method=0 if lossless else 2)
    return {"src": name, "rows": -(-len(paths) // plots.COLUMNS), "count": len(paths), "pixel_art": side <= PIXEL_ART, "prompt": prompt}


def portable(model: str) -> str:
    """Return a model's name without open_clip's prefix and, if it is an absolute path, without the folders of this machine."""
    name = model.removeprefix("local-dir:")
    return PurePath(name).name if PurePath(name).is_absolute() else name
