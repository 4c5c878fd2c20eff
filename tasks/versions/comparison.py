"""Two versions of a concept side by side: scores, settings, picture sets and samples."""

import base64
import tempfile
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tasks import artifacts
from tasks.concepts.rights import DECLARATIONS
from tasks.registry import lifecycle, reading
from tasks.registry.promotion import JUDGES, decide, score_record

IDENTITY = ("base_model", "base_weights_sha256", *JUDGES, "pictures_sha256", "scored_on_sha256", "dataset_digest", *DECLARATIONS)


def compare(concept: str, first: int, second: int, page: Path | None = None) -> dict[str, Any]:
    """Return {concept, versions, scores, settings, evidence, decision} and write it as one HTML page that needs no other file.

    scores: score -> the two {value, low, high}, None where a version was not measured. settings, evidence: name -> the two values, None
    where a version has no such value.
    decision: the gate's decision if `second` challenged `first`.

    Raises:
        ValueError: the concept has no such version.
    """
    numbers = [lifecycle.existing_version(concept, number) for number in (first, second)]
    tags = [reading.tags(concept, number) for number in numbers]
    records = [score_record(number, recorded) for number, recorded in zip(numbers, tags, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        folders = [Path(folder) / str(index) for index in range(2)]
        for subfolder in folders:
            subfolder.mkdir()
        trainings = [reading.training(concept, number, subfolder) for number, subfolder in zip(numbers, folders, strict=True)]
        params, picture_sets = [training[0] for training in trainings], [training[1] for training in trainings]
        sheets = [{path.stem: data_uri(path) for path in training[2]} for training in trainings]
    decision, scores = decide(concept, records[1], records[0]), dict.fromkeys(name for record in records for name in record.scores)
    evidence = {key: [recorded.get(key) for recorded in tags] for key in IDENTITY}
    facts = {
        "concept": concept,
        "versions": numbers,
        "scores": {name: [record.scores[name].as_json() if name in record.scores else None for record in records] for name in scores},
        "settings": {key: [settings.get(key) for settings in params] for key in sorted(set().union(*params))},
        "evidence": evidence | {"pictures": [pictures.get("source") for pictures in picture_sets]},
        "decision": {"verdict": decision.verdict, "reason": decision.reason},
    }
    if page:
        templates = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
        prompts = sorted(set().union(*sheets))
        rows = [(prompt, [by_prompt.get(prompt) for by_prompt in sheets]) for prompt in prompts]
        html = templates.get_template("comparison.html.j2").render(**facts, sheets=rows)
        artifacts.write_bytes(page, html.lstrip().encode())
    return facts


def data_uri(picture: Path) -> str:
    return f"data:image/{picture.suffix[1:]};base64,{base64.b64encode(picture.read_bytes()).decode()}"
