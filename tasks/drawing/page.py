"""The report: the catalog as one page, with every minted word, its pictures and its scores."""

import shutil
from pathlib import Path, PurePath
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from tasks import artifacts
from tasks.concepts.stand_ins import STAND_INS
from tasks.drawing import plots
from tasks.settings import Settings

SHOWN = {"word": "word", "word_alone": "the denoiser untuned", **STAND_INS, "prompt_only": "Prompt-Only"}
"""The folder of each kind of a prompt's pictures -> its name on the page."""
MAX_SIDE = 256  # px of a picture in a sprite
PIXEL_ART = 128  # px; pictures up to this side are kept lossless and enlarged with hard edges


def write_page(settings: Settings) -> Path:
    """Write data/report/, which needs no file outside of it, and return the path of its index.html."""
    minted = [key for key in settings.concepts if artifacts.scores(key).exists()]
    templates = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    templates.filters |= {"number": "{:.3f}".format, "portable": portable}
    with artifacts.new_folder(artifacts.REPORT) as folder:
        concepts = [gather(key, settings, folder) for key in minted]
        content = {"concepts": concepts, "missing": [key for key in settings.concepts if key not in minted], "facts": facts(concepts)}
        content |= plots.draw([concept["score"] for concept in concepts]) | {"compositions": compositions(concepts, folder)}
        html = templates.get_template("page.html.j2").render(settings=settings, shown=SHOWN, **content)
        (folder / "index.html").write_text(html.lstrip(), encoding="utf-8", newline="\n")
    return artifacts.REPORT / "index.html"


def gather(key: str, settings: Settings, folder: Path) -> dict[str, Any]:
    """Return what the page shows of a concept and write its pictures to `folder`; records and pictures that this machine lacks are empty."""
    paths = {"train": artifacts.train_record(key), "samples": artifacts.samples_record(key), "registered": artifacts.registered(key)}
    content = {name: artifacts.read_json(path) if path.exists() else {} for name, path in paths.items()}
    slugs = {prompt["prompt"]: prompt["slug"] for prompt in content["samples"].get("prompts", [])}
    content["curated"], content["score"] = sprite(artifacts.curated(key), folder), {"fidelity": None} | artifacts.read_json(artifacts.scores(key))
    content["prompts"] = []
    for prompt in content["score"]["prompts"]:
        folders = {name: artifacts.samples(key) / name / slugs.get(prompt["prompt"], "") for name in SHOWN}
        content["prompts"].append(prompt | {name: sprite(pictures, folder) for name, pictures in folders.items()})
    return {"key": key} | settings.concept(key).model_dump() | content


def compositions(concepts: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """Return what `wordmint compose` measured of the present words: the pairs with their pictures, and a triangle of pairs by concept."""
    digests = {concept["key"]: concept["score"]["embedding_digest"] for concept in concepts}
    pairs: dict[frozenset[str], dict[str, Any]] = {}
    for path in sorted(artifacts.COMPOSITIONS.glob("*/composition.json")):
        pair = artifacts.read_json(path)
        if [digests.get(key) for key in pair["concepts"]] == pair["made_of"]["embedding_digests"]:
            pairs[frozenset(pair["concepts"])] = pair | {"pictures": sprite(path.parent, folder)}
    names = [key for key in digests if any(key in pair for pair in pairs)]
    rows = [(name, [pairs.get(frozenset((name, other))) for other in names[:index]]) for index, name in enumerate(names)]
    return {"names": names[:-1], "rows": rows[1:], "pairs": list(pairs.values())}


def facts(concepts: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Return what made the catalog according to its records, not params.yaml; a fact with several values shows a mixed catalog."""
    train, samples = ([concept[name] for concept in concepts if concept[name]] for name in ("train", "samples"))
    scores = [concept["score"] for concept in concepts]
    models = {"base model": [record["base"] for record in train], "scorer": [score["scorer"] for score in scores]}
    models["fidelity by"] = [score["scorer"]["fidelity"] for score in scores if score["fidelity"]]
    texts = {name: [f"{portable(model['model'])} @ {model['weights_sha256'][:8]}" for model in used] for name, used in models.items()}
    sampling = "DDIM, {num_inference_steps} steps, guidance {guidance_scale:g}, {count} pictures a prompt"
    texts["samples"] = [sampling.format(**record, count=len(record["seeds"])) for record in samples]
    texts["method"] = [record["method"] for record in train]
    return {name: sorted(set(values)) for name, values in texts.items()}


def sprite(pictures: Path, folder: Path) -> dict[str, Any] | None:
    """Draw a folder's pictures, if any, as one file and describe it; the name has their digest, so shared pictures are written once."""
    paths = sorted(pictures.glob("*.png"))
    if not paths:
        return None
    with Image.open(paths[0]) as first:
        side, prompt = min(first.width, MAX_SIDE), first.info.get("prompt", "")
    name = f"pictures/{pictures.name}-{artifacts.folder_digest(pictures, '*.png')[:12]}-{plots.COLUMNS}x{side}.webp"
    if not (folder / name).exists():
        (folder / "pictures").mkdir(exist_ok=True)
        if (artifacts.REPORT / name).exists():  # the previous page showed it too
            shutil.copyfile(artifacts.REPORT / name, folder / name)
        else:
            # Lossless, method 0 takes a fifth of method 2's time for 22 % more bytes; lossy, method 2 takes half of the default's for 8 % more.
            lossless = side <= PIXEL_ART
            plots.sheet(paths, side).save(folder / name, lossless=lossless, quality=85, method=0 if lossless else 2)
    return {"src": name, "rows": -(-len(paths) // plots.COLUMNS), "count": len(paths), "pixel_art": side <= PIXEL_ART, "prompt": prompt}


def portable(model: str) -> str:
    """Return a model's name without open_clip's prefix; of an absolute path, only the last part."""
    name = model.removeprefix("local-dir:")
    return PurePath(name).name if PurePath(name).is_absolute() else name
