"""Two versions of a concept side by side: scores, settings, picture sets, and what they draw."""

import base64
import tempfile
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tasks import artifacts
from tasks.concepts.rights import ASKED
from tasks.registry import lifecycle, reading
from tasks.registry.promotion import JUDGES, SCORES, decide, score_record

IDENTITY = ("base_model", "base_weights_sha256", *JUDGES, "pictures_sha256", "scored_on_sha256", "dataset_digest", *ASKED)


def compare(concept: str, one: int, two: int, page: Path | None = None) -> dict[str, Any]:
    """Return {concept, versions, scores, settings, evidence, decision} and write it as one HTML page that needs nothing outside itself.

    scores: score -> the two {value, low, high}. settings, evidence: name -> the two values, None where a version has no such.
    decision: what the gate says of `two` against `one`.

    Raises:
        ValueError: there is no such version.
    """
    numbers = [lifecycle.known(concept, number) for number in (one, two)]
    tags = [reading.tags(concept, number) for number in numbers]
    records = [score_record(number, found) for number, found in zip(numbers, tags, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        places = [Path(folder) / str(index) for index in range(2)]
        for place in places:
            place.mkdir()
        learned = [reading.training(concept, number, place) for number, place in zip(numbers, places, strict=True)]
        params, pictures = [entry[0] for entry in learned], [entry[1] for entry in learned]
        sheets = [{path.stem: data_uri(path) for path in entry[2]} for entry in learned]
    decision = decide(concept, records[1], records[0])
    facts = {
        "concept": concept,
        "versions": numbers,
        "scores": {name: [getattr(record, name).known() for record in records] for name in SCORES},
        "settings": {key: [found.get(key) for found in params] for key in sorted(set().union(*params))},
        "evidence": {key: [found.get(key) for found in tags] for key in IDENTITY} | {"pictures": [found.get("source") for found in pictures]},
        "decision": {"verdict": decision.verdict, "reason": decision.reason},
    }
    if page:
        templates = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
        prompts = sorted(set().union(*sheets))
        html = templates.get_template("comparison.html.j2").render(**facts, sheets=[(prompt, [s.get(prompt) for s in sheets]) for prompt in prompts])
        artifacts.write_bytes(page, html.lstrip().encode())
    return facts


def data_uri(picture: Path) -> str:
    return f"data:image/{picture.suffix[1:]};base64,{base64.b64encode(picture.read_bytes()).decode()}"
