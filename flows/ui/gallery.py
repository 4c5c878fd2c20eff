"""What the gallery shows: a card for every concept."""

from typing import Any

from flows import watching
from flows.ui import builds
from tasks import artifacts
from tasks.drawing import plots
from tasks.pictures.names import picture_files
from tasks.registry.promotion import SCORES
from tasks.settings import Settings

COVERS = 4  # pictures on the card of a concept that has no samples yet


def cards(settings: Settings) -> list[dict[str, Any]]:
    """Return {key, placeholder_token, kind, cover, pictures, scores, version, aliases, notice} of every concept.

    cover: the path of its samples below /pictures/report/, or None. pictures: names of its pictures, where it has no samples.
    """
    found = []
    for key, concept in settings.concepts.items():
        card = artifacts.read_json_if_there(artifacts.card(key)) or {}
        scores = card.get("scores") or artifacts.read_json_if_there(artifacts.scores(key)) or {}
        registered = artifacts.read_json_if_there(artifacts.registered(key)) or {}
        cover = f"{key}/{card['cover']['src']}" if card.get("cover") else None
        found.append(
            {
                "key": key,
                "placeholder_token": concept.placeholder_token,
                "kind": concept.kind,
                "cover": cover,
                "pixel_art": bool(cover and card["cover"]["pixel_art"]),
                "pictures": [] if cover else list(pictures_of(key))[:COVERS],
                "scores": {name: placed(scores[name]) for name in SCORES if scores.get(name)},
                "version": registered.get("version"),
                "aliases": registered.get("aliases", []),
                "notice": notice(registered),
            }
        )
    return found


def pictures_of(key: str) -> dict[str, Any]:
    """Return the files of a concept's pictures by name; none where this clone lacks them."""
    folder = artifacts.images(key)
    return picture_files(folder) if folder.is_dir() else {}


def notice(registered: dict[str, Any]) -> dict[str, str] | None:
    """Return {state, why} of a concept that is revoked or held back, by its record."""
    for state in ("revoked", "held_back"):
        if state in registered:
            return {"state": state.replace("_", " "), "why": registered[state]}
    return None


def placed(score: dict[str, float]) -> dict[str, float]:
    """Return a score with the places of its value and its interval between its two bounds, in percent of the way."""
    low, high = sorted((score["prompt_only"], score["image_only"]))

    def place(value: float) -> float:
        return round(min(100.0, max(0.0, 100 * (value - low) / ((high - low) or 1.0))), 1)

    return {"value": score["value"], "at": place(score["value"]), "from": place(score["low"]), "to": place(score["high"])}


def planes(settings: Settings) -> dict[str, plots.Plane]:
    """Return the planes of reconstruction and editability, wide and narrow, of the scored concepts."""
    return plots.planes([card for key in settings.concepts if (card := artifacts.read_json_if_there(artifacts.card(key)))])


def states(settings: Settings) -> dict[str, dict[str, str]]:
    """Return {state, why} of every concept: building, failed, revoked, held back, new, stale or up to date."""
    build, stale = watching.last_build(), builds.stale(settings)
    found = {}
    for key in settings.concepts:
        record = artifacts.read_json_if_there(artifacts.registered(key)) or {}
        seen, special = build["concepts"].get(key, {}), notice(record)
        if build["running"] and seen.get("state") in ("waiting", "working"):
            found[key] = {"state": "building", "why": seen.get("stage", "waits for its turn")}
        elif special and special["state"] == "revoked":
            found[key] = special
        elif key in stale and seen.get("state") == "failed":
            found[key] = {"state": "failed", "why": seen["error"]}
        elif key in stale:
            reasons = [f"{stage}: {', '.join(why)}" for stage, why in stale[key].items() if why != ["never built"]]
            found[key] = {"state": "stale", "why": "; ".join(reasons)} if reasons or record else {"state": "new", "why": "it was never built"}
        else:
            found[key] = special or {"state": "up to date", "why": ""}
    return found
