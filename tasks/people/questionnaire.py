"""A questionnaire: which pictures people put in order, drawn by a seed, and the record of which picture is what."""

import hashlib
import json
import random
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from PIL import Image

from tasks import artifacts
from tasks.judging.sheets import SHEET_SIDE
from tasks.people import page
from tasks.people.candidates import WORDLESS, Candidate, candidates, drawn
from tasks.registry import connection
from tasks.registry.connection import tracking_uri
from tasks.settings import Settings

SIMILARITY, TEXT = "similarity", "text"
PARTS = (SIMILARITY, TEXT)
TRAINING = 4  # training pictures that a rater is shown, as in the paper
MAX_SIDE = 256  # px of a picture


class Item(NamedTuple):
    """Pictures to put in order: by their similarity to training pictures, or to a text."""

    part: str
    concept: str
    kind: str
    """object or style."""
    text: str
    """Empty in the first part."""
    training: list[Path]
    """Empty in the second part."""
    pictures: list[tuple[str, Path]]
    """The candidates' names and pictures, as they are shown."""
    right: int | None = None
    """The picture of an attention check that is plainly the best."""

    def paths(self) -> list[Path]:
        return [*self.training, *(path for _, path in self.pictures)]


class Written(NamedTuple):
    """What was written."""

    id: str
    page: Path
    record: Path
    items: int
    megabytes: float


def write_questionnaire(concepts: Sequence[str], settings: Settings, items: int, checks: int, seed: int, out: Path | None) -> Written:
    """Write a questionnaire's page, by default questionnaire-ID.html, and its record.

    items: of each concept and part. checks: attention checks of each part.

    Raises:
        ValueError: a concept is unknown or has too little to compare, or the page would be too large.
    """
    connection.connect(tracking_uri(settings))
    generator = random.Random(seed)
    with TemporaryDirectory() as folder:
        compared = {concept: candidates(concept, settings, Path(folder)) for concept in built(concepts, settings)}
        parts = [
            arranged(
                [one for concept in compared for one in questions(part, concept, compared[concept], items, settings, generator)],
                [check(part, concept, len(compared[concept]), settings, generator) for concept in generator.choices(list(compared), k=checks)],
                generator,
            )
            for part in PARTS
        ]
        drawn_up = [item for part in parts for item in part]
        paths = {path for item in drawn_up for path in item.paths()}
        side = common_side(paths)
        files = {path: page.encoded(path, side) for path in sorted(paths)}
    digests = {path: page.digest(data) for path, data in files.items()}
    facts = {concept: {candidate.name: candidate.facts for candidate in shown} for concept, shown in compared.items()}
    record: dict[str, Any] = {"seed": seed, "candidates": facts, "items": [recorded(item, digests) for item in drawn_up]}
    record = {"id": identity(record), **record}
    html = page.render(record, {digests[path]: data for path, data in files.items()})
    out = out or page_path(record["id"])
    artifacts.write_json(artifacts.questionnaire(record["id"]), record)
    artifacts.write_bytes(out, html)
    return Written(record["id"], out, artifacts.questionnaire(record["id"]), len(drawn_up), len(html) / 1e6)


def page_path(digest: str) -> Path:
    """Return where a questionnaire's page is written unless another place is named."""
    return Path(f"questionnaire-{digest}.html")


def built(concepts: Sequence[str], settings: Settings) -> list[str]:
    """Return the concepts that were named, by default those with samples on this machine.

    Raises:
        ValueError: a concept is unknown, or lacks samples or curated pictures; or no concept has any.
    """
    chosen = settings.chosen(list(concepts) or [key for key in settings.concepts if artifacts.samples_record(key).exists()])
    if not chosen:
        raise ValueError("no concept has samples on this machine; run `wordmint build` or `wordmint pull` first")
    for concept in chosen:
        if not all(drawn(concept, WORDLESS, settings).values()) or not any(artifacts.curated(concept).glob("*.png")):
            raise ValueError(f"{artifacts.samples(concept)} lacks pictures of its prompts; run `wordmint build {concept}` or `wordmint pull` first")
    return list(dict.fromkeys(chosen))


def questions(part: str, concept: str, shown: Sequence[Candidate], count: int, settings: Settings, generator: random.Random) -> list[Item]:
    """Draw the items of a concept and part: the same seed's picture of every candidate, in a random order."""
    first, *edits = settings.prompts(concept)
    prompts = {prompt: [candidate for candidate in shown if candidate.pictures.get(prompt)] for prompt in ([first] if part == SIMILARITY else edits)}
    numbers = {prompt: min(len(one.pictures[prompt]) for one in having) for prompt, having in prompts.items() if len(having) > 1}
    orders = {prompt: generator.sample(range(number), number) for prompt, number in numbers.items()}
    rounds = [[(prompt, order[turn]) for prompt, order in orders.items() if turn < len(order)] for turn in range(max(numbers.values(), default=0))]
    kind, items = settings.concept(concept).kind, list[Item]()
    for prompt, number in [place for turn in rounds for place in generator.sample(turn, len(turn))][:count]:
        pictures = [(candidate.name, candidate.pictures[prompt][number]) for candidate in prompts[prompt]]
        training = training_pictures(concept, generator) if part == SIMILARITY else []
        text = blank(prompt) if part == TEXT else ""
        items.append(Item(part, concept, kind, text, training, generator.sample(pictures, len(pictures))))
    return items


def training_pictures(concept: str, generator: random.Random) -> list[Path]:
    paths = sorted(artifacts.curated(concept).glob("*.png"))
    return generator.sample(paths, min(TRAINING, len(paths)))


def blank(prompt: str) -> str:
    """Return a prompt with an ellipsis for its word: `a photo of a {} on the moon` -> `a photo of … on the moon`."""
    return re.sub(r"(\b(an|a|the) )?\{\}", "…", prompt)


def check(part: str, concept: str, size: int, settings: Settings, generator: random.Random) -> Item:
    """Draw an attention check of `size` pictures, one of which is plainly the best.

    Similarity: a training picture that is shown above, among pictures of other concepts. Text: the base model's picture of a prompt without
    the word, among its pictures of other prompts. The prompt is one of those that the word follows best, since a model may draw the others
    too badly for anybody to tell.
    """
    _, *edits = settings.prompts(concept)
    kind, wordless = settings.concept(concept).kind, drawn(concept, WORDLESS, settings)
    if part == SIMILARITY:
        text, training = "", training_pictures(concept, generator)
        right = generator.choice(training)
        others = [path for key in settings.concepts if key != concept for path in sorted(artifacts.curated(key).glob("*.png"))]
        wrong = others or [path for edit in edits for path in wordless[edit]]
    else:
        prompt = generator.choice(followed(concept, edits))
        text, training, right = blank(prompt), [], generator.choice(wordless[prompt])
        others = [path for edit in edits if edit != prompt for path in wordless[edit]]
        wrong = others or sorted(artifacts.curated(concept).glob("*.png"))
    pictures = [("wrong", path) for path in generator.sample(wrong, min(size - 1, len(wrong)))]
    place = generator.randrange(len(pictures) + 1)
    return Item(part, concept, kind, text, training, [*pictures[:place], ("right", right), *pictures[place:]], place)


def followed(concept: str, prompts: Sequence[str]) -> list[str]:
    """Return the better half of prompts by the editability of the concept's pictures, or all where they are not scored."""
    path = artifacts.scores(concept)
    scores = {row["prompt"]: row["editability"] for row in artifacts.read_json(path)["prompts"]} if path.exists() else {}
    if not set(prompts) <= scores.keys():
        return list(prompts)
    return sorted(prompts, key=lambda prompt: -scores[prompt])[: -(-len(prompts) // 2)]


def arranged(items: list[Item], checks: list[Item], generator: random.Random) -> list[Item]:
    """Return items in a random order with the checks among them; a check is not the first, where a rater still learns what to do."""
    order = generator.sample(items, len(items))
    for one in checks:
        order.insert(generator.randint(min(1, len(order)), len(order)), one)
    return order


def common_side(paths: Iterable[Path]) -> int:
    """Return the side in px of all pictures of a questionnaire, so that sharpness does not tell a candidate that is kept as a small sheet."""
    sides = []
    for path in paths:
        with Image.open(path) as picture:
            sides.append(picture.width)
    return max(SHEET_SIDE, min(MAX_SIDE, *sides))


def recorded(item: Item, digests: dict[Path, str]) -> dict[str, Any]:
    """Return what the record keeps of an item."""
    return {
        **{"part": item.part, "concept": item.concept, "kind": item.kind, "text": item.text, "training": [digests[path] for path in item.training]},
        **{"candidates": [name for name, _ in item.pictures], "pictures": [digests[path] for _, path in item.pictures], "right": item.right},
    }


def identity(record: dict[str, Any]) -> str:
    """Return the id of a questionnaire: the digest of its record without the id."""
    content = {key: value for key, value in record.items() if key != "id"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
