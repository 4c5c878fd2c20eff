"""The report's index: every concept of the catalog in one table and one plane."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks import artifacts
from tasks.drawing import plots
from tasks.drawing.page import templates
from tasks.drawing.sprites import sprite
from tasks.registry.promotion import SCORES
from tasks.settings import Settings

PICTURES = artifacts.REPORT / "pictures"


def write_index(settings: Settings) -> Path:
    """Write data/report/index.html, which needs no file outside of data/report/, and return its path."""
    found = {key: artifacts.read_json_if_there(artifacts.card(key)) for key in settings.concepts}
    cards, missing = [card for card in found.values() if card], [key for key, card in found.items() if not card]
    with artifacts.new_folder(PICTURES) as folder:
        content = {
            "cards": cards,
            "missing": missing,
            "facts": facts(cards),
            "kinds": {card["key"]: card["kind"] for card in cards},
            "shown": [name for name in SCORES if any(name in card["scores"] for card in cards)],
            "planes": plots.planes(cards),
            "compositions": compositions(cards, folder),
        }
        html = templates().get_template("index.html.j2").render(settings=settings, **content)
    artifacts.write_bytes(artifacts.REPORT / "index.html", html.lstrip().encode())
    return artifacts.REPORT / "index.html"


def facts(cards: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """Return what made the catalog; a fact with several values shows a mixed catalog."""
    names = dict.fromkeys(name for card in cards for name in card["facts"])
    return {name: sorted({card["facts"][name] for card in cards if name in card["facts"]}) for name in names}


def compositions(cards: Sequence[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """Return what `wordmint compose` measured of the present words: the pairs with their pictures, and a triangle of pairs by concept."""
    digests = {card["key"]: card["embedding_digest"] for card in cards}
    pairs: dict[frozenset[str], dict[str, Any]] = {}
    for path in sorted(artifacts.COMPOSITIONS.glob("*/composition.json")):
        pair = artifacts.read_json(path)
        present = [digests.get(key) for key in pair["concepts"]] == pair["made_of"]["embedding_digests"]
        if present and (pictures := sprite(path.parent, folder, PICTURES)):
            pairs[frozenset(pair["concepts"])] = pair | {"pictures": pictures | {"src": f"pictures/{pictures['src']}"}}
    names = [key for key in digests if any(key in pair for pair in pairs)]
    rows = [(name, [pairs.get(frozenset((name, other))) for other in names[:index]]) for index, name in enumerate(names)]
    return {"names": names[:-1], "rows": rows[1:], "pairs": list(pairs.values())}
