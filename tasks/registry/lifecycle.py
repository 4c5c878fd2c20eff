"""The life of a version after it is published: challenger, champion, previous, revoked. What happens is decided in promotion.py.

Every move is written down, as tags of the version and a line in the concept's history, before an alias moves: what an alias reaches
is whole and says why. A move that was interrupted is completed by doing it again.
"""

import json
from datetime import UTC, datetime
from typing import Any, Literal

from tasks.registry import connection, reading, writing
from tasks.registry.promotion import Decision, decide, score_record
from tasks.registry.reading import CHALLENGER, CHAMPION, PREVIOUS, REVOKED

Policy = Literal["by_hand", "when_better"]


def settle(concept: str, version: int, policy: Policy) -> list[str]:
    """Give a published version its place and return its aliases, sorted.

    The first one is champion at once. A later one is challenger with a decision on record, which moves the champion only under
    `when_better`. The champion and the previous one keep their places: a person who rolled back is not overruled by a build.

    Raises:
        ValueError: the concept is revoked.
    """
    with connection.one_writer():
        reading.refuse_revoked(concept)
        held = reading.aliases(concept)
        if CHAMPION not in held:
            note(concept, version, weigh(concept, version, None))
            writing.set_alias(concept, CHAMPION, version)
        elif version not in (held[CHAMPION], held.get(PREVIOUS)):
            decision = weigh(concept, version, held[CHAMPION])
            note(concept, version, decision)
            writing.set_alias(concept, CHALLENGER, version)
            if decision.promote and policy == "when_better":
                crown(concept, version)
        elif version == held[CHAMPION] == held.get(CHALLENGER):
            crown(concept, version)
    return sorted(alias for alias, number in reading.aliases(concept).items() if number == version)


def promote(concept: str, version: int | None = None, accept: str = "") -> tuple[int, Decision]:
    """Make the challenger, or another version, champion if the gate lets it; return it with the decision, which is on record either way.

    Raises:
        ValueError: there is no such version or no challenger, it is champion already, or the concept is revoked.
    """
    with connection.one_writer():
        reading.refuse_revoked(concept)
        held = reading.aliases(concept)
        if version is None and CHALLENGER not in held:
            known(concept, None)
            raise ValueError(f"concept {concept!r} has no challenger; build one with `wordmint build {concept}`, or name a version with --version")
        number = held[CHALLENGER] if version is None else known(concept, version)
        if number == held.get(CHAMPION):
            crown(concept, number)  # a promotion that was cut short leaves the challenger's alias behind
            raise ValueError(f"{concept} v{number} is the champion already")
        decision = weigh(concept, number, held.get(CHAMPION), accept)
        note(concept, number, decision, again=True)
        if decision.promote:
            crown(concept, number)
    return number, decision


def rollback(concept: str, why: str = "") -> tuple[int, int | None]:
    """Make the previous champion champion again and return its version and the one that it replaces; a second rollback undoes the first.

    Raises:
        ValueError: there is no previous champion, or the concept is revoked.
    """
    with connection.one_writer():
        reading.refuse_revoked(concept)
        held = reading.aliases(concept)
        version, replaced = held.get(PREVIOUS), held.get(CHAMPION)
        if version is None or version == replaced:
            known(concept, None)
            raise ValueError(f"concept {concept!r} has no previous champion to roll back to; see `wordmint history {concept}`")
        writing.add_event(concept, event="rollback", version=version, against=replaced, reason=why)
        writing.set_alias(concept, CHAMPION, version)
        if replaced is not None:
            writing.set_alias(concept, PREVIOUS, replaced)
    return version, replaced


def revoke(concept: str, why: str) -> dict[str, int]:
    """Take every alias from a concept, mark its versions, and stop its retraining; return the aliases that it had.

    Raises:
        ValueError: it has no versions, or `why` is empty.
    """
    if not why.strip():
        raise ValueError('revoking needs a reason; give one with --why "REASON"')
    with connection.one_writer():
        known(concept, None)
        before = reading.revocation(concept)
        held = reading.aliases(concept)
        taken = (before["aliases"] if before else {}) | held
        # The mark comes first: from here on no build gives an alias back.
        writing.set_revocation(concept, {"at": now(), "why": why, "aliases": taken})
        writing.add_event(concept, event="revoke", version=taken.get(CHAMPION), reason=why)
        for alias in held:
            writing.drop_alias(concept, alias)
        for row in reading.described(concept):
            writing.set_tags(concept, row["version"], {REVOKED: why})
    return taken


def reinstate(concept: str, why: str = "") -> dict[str, int]:
    """Undo a revocation and return the aliases that the concept has again.

    Raises:
        ValueError: it is not revoked.
    """
    with connection.one_writer():
        if not (gone := reading.revocation(concept)):
            raise ValueError(f"concept {concept!r} is not revoked; see `wordmint history {concept}`")
        writing.add_event(concept, event="reinstate", version=gone["aliases"].get(CHAMPION), reason=why)
        for row in reading.described(concept):
            if REVOKED in row["tags"]:
                writing.set_tags(concept, row["version"], {REVOKED: None})
        for alias, number in gone["aliases"].items():
            writing.set_alias(concept, alias, number)
        writing.set_revocation(concept, None)
    return gone["aliases"]


def history(concept: str) -> dict[str, Any]:
    """Return {concept, revoked, versions, events}, both oldest first, all that happened to a concept.

    Raises:
        ValueError: it has no versions.
    """
    known(concept, None)
    versions = [
        {key: row[key] for key in ("version", "created", "aliases")}
        | {key: row["tags"].get(key) for key in ("digest", "decision", "decision_reason")}
        | {name: getattr(score_record(row["version"], row["tags"]), name).known() for name in ("reconstruction", "editability")}
        for row in reading.described(concept)
    ]
    gone = reading.revocation(concept)
    return {"concept": concept, "revoked": gone["why"] if gone else None, "versions": versions, "events": reading.events(concept)}


def known(concept: str, version: int | None) -> int:
    """Return a version that exists: `version`, or the newest when it is None.

    Raises:
        ValueError: there is none.
    """
    numbers = [row["version"] for row in reading.described(concept)]
    if not numbers:
        raise ValueError(f"concept {concept!r} has no versions in the registry; build it with `wordmint build {concept}`")
    if version is not None and version not in numbers:
        raise ValueError(f"concept {concept!r} has no version {version}; it has {', '.join(map(str, numbers))}")
    return numbers[-1] if version is None else version


def weigh(concept: str, version: int, champion: int | None, accept: str = "") -> Decision:
    """Decide between two versions by their tags."""
    best = None if champion is None else score_record(champion, reading.tags(concept, champion))
    return decide(concept, score_record(version, reading.tags(concept, version)), best, accept)


def note(concept: str, version: int, decision: Decision, again: bool = False) -> None:
    """Write a decision on its version and into the concept's history; one that stands there already only when it was asked for `again`."""
    said = {
        "decision": decision.verdict,
        "decision_reason": decision.reason,
        "decision_against": "none" if decision.against is None else str(decision.against),
        "decision_numbers": json.dumps(decision.numbers),
    }
    tags = reading.tags(concept, version)
    if again or any(tags.get(key) != value for key, value in said.items()):
        writing.add_event(
            concept,
            event="decision",
            version=version,
            against=decision.against,
            verdict=decision.verdict,
            reason=decision.reason,
            numbers=decision.numbers,
        )
        writing.set_tags(concept, version, {"decision_at": now(), **said})


def crown(concept: str, version: int) -> None:
    """Make a version champion and the champion that it replaces `previous`."""
    held = reading.aliases(concept)
    old = held.get(CHAMPION)
    if old != version:
        writing.add_event(concept, event="promote", version=version, against=old)
        if old is not None:  # first, so that an interruption loses no way back
            writing.set_alias(concept, PREVIOUS, old)
        writing.set_alias(concept, CHAMPION, version)
    if held.get(CHALLENGER) == version:
        writing.drop_alias(concept, CHALLENGER)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
