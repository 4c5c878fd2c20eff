"""The life of a version after it is published: challenger, champion, previous, revoked. promotion.py decides which.

Tags of the version and a line in the concept's history are written before an alias moves, so a version that an alias reaches is
complete and says why. An interrupted move is completed by repeating it.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tasks.faults import point
from tasks.registry import connection, reading, writing
from tasks.registry.promotion import Decision, decide, score_record
from tasks.registry.reading import CHALLENGER, CHAMPION, PREVIOUS, REVOKED
from tasks.settings import Register


def settle(concept: str, version: int, rules: Register) -> dict[str, Any]:
    """Give a published version its alias and return its standing, as `reading.standing` does.

    The first version is champion at once, unless the gate finds its scores too low: then it is challenger. A later one is challenger,
    with a decision that makes it champion only under `when_better`. The champion and the previous champion keep their aliases: a build
    does not overrule a person who rolled back.

    Raises:
        ValueError: the concept is revoked.
    """
    held_back = {}
    with connection.one_writer():
        entry = reading.entry(concept)
        entry.refuse_revoked()
        champion = entry.aliases.get(CHAMPION)
        if champion is None or version not in (champion, entry.aliases.get(PREVIOUS)):
            tags = reading.tags(concept, version)
            decision = weigh(concept, version, tags, champion, floor=rules.floor)
            write_decision(entry, version, tags, decision)
            first = champion is None and decision.promote
            writing.set_alias(entry, CHAMPION if first else CHALLENGER, version)
            if first and CHALLENGER in entry.aliases:  # it was held back
                writing.drop_alias(entry, CHALLENGER)
            elif champion is None and not first:
                held_back = {"held_back": decision.reason}
            elif champion is not None and decision.promote and rules.promote == "when_better":
                crown(entry, version)
        elif version == champion == entry.aliases.get(CHALLENGER):
            crown(entry, version)
    point("version settled, record not written")
    return {"aliases": sorted(alias for alias, number in entry.aliases.items() if number == version), **held_back}


def foreseen(entry: reading.Entry, tags: Mapping[str, str], rules: Register) -> dict[str, str]:
    """Return the tags of the decision on the next version, which will be created with `tags`.

    A version that has them from its creation saves five requests. `settle` decides again and corrects them where they are wrong, as when another
    machine published a version meanwhile.
    """
    return {"decision_at": now(), **tags_of(weigh(entry.concept, entry.newest + 1, tags, entry.aliases.get(CHAMPION), floor=rules.floor))}


def promote(concept: str, version: int | None = None, accept: str = "") -> tuple[int, Decision]:
    """Make the challenger, or another version, champion if the gate lets it; return it with the decision, which is written either way.

    Raises:
        ValueError: there is no such version or no challenger, it is champion already, or the concept is revoked.
    """
    with connection.one_writer():
        entry = reading.entry(concept)
        entry.refuse_revoked()
        aliases = dict(entry.aliases)
        if version is None and CHALLENGER not in aliases:
            existing_version(concept, None)
            raise ValueError(f"concept {concept!r} has no challenger; build one with `wordmint build {concept}`, or name a version with --version")
        number = aliases[CHALLENGER] if version is None else existing_version(concept, version)
        if number == aliases.get(CHAMPION):
            crown(entry, number)  # an interrupted promotion leaves the challenger's alias behind
            raise ValueError(f"{concept} v{number} is the champion already")
        tags = reading.tags(concept, number)
        decision = weigh(concept, number, tags, aliases.get(CHAMPION), accept)
        write_decision(entry, number, tags, decision, again=True)
        if decision.promote:
            crown(entry, number)
    return number, decision


def rollback(concept: str, why: str = "") -> tuple[int, int | None]:
    """Make the previous champion champion again; return its version and the one that it replaces. A second rollback undoes the first.

    Raises:
        ValueError: there is no previous champion, or the concept is revoked.
    """
    with connection.one_writer():
        entry = reading.entry(concept)
        entry.refuse_revoked()
        aliases = dict(entry.aliases)
        version, replaced = aliases.get(PREVIOUS), aliases.get(CHAMPION)
        moves = [line for line in entry.events if line["event"] in ("promote", "rollback")]
        if torn := version == replaced and moves and moves[-1]["event"] == "rollback":
            replaced = moves[-1]["against"]  # one alias was moved before an interruption; only the history still knows the other version
        if version is None or version == replaced:
            existing_version(concept, None)
            raise ValueError(f"concept {concept!r} has no previous champion to roll back to; see `wordmint history {concept}`")
        if not torn:
            writing.add_event(entry, event="rollback", version=version, against=replaced, reason=why)
        writing.set_alias(entry, CHAMPION, version)
        if replaced is not None:
            writing.set_alias(entry, PREVIOUS, replaced)
    return version, replaced


def revoke(concept: str, why: str) -> dict[str, int]:
    """Take every alias from a concept, mark its versions, and stop its retraining; return the aliases that it had.

    Raises:
        ValueError: it has no versions, or `why` is empty.
    """
    if not why.strip():
        raise ValueError('revoking needs a reason; give one with --why "REASON"')
    with connection.one_writer():
        existing_version(concept, None)
        entry = reading.entry(concept)
        earlier, aliases = entry.revocation, dict(entry.aliases)
        taken = (earlier["aliases"] if earlier else {}) | aliases
        # The mark comes first, so that no build gives an alias back.
        writing.set_revocation(entry, {"at": now(), "why": why, "aliases": taken})
        writing.add_event(entry, event="revoke", version=taken.get(CHAMPION), reason=why)
        for alias in aliases:
            writing.drop_alias(entry, alias)
        for row in reading.described(concept):
            writing.set_tags(concept, row["version"], {REVOKED: why})
    return taken


def reinstate(concept: str, why: str = "") -> dict[str, int]:
    """Undo a revocation and return the aliases that the concept has again.

    Raises:
        ValueError: it is not revoked.
    """
    with connection.one_writer():
        entry = reading.entry(concept)
        if not (revocation := entry.revocation):
            raise ValueError(f"concept {concept!r} is not revoked; see `wordmint history {concept}`")
        writing.add_event(entry, event="reinstate", version=revocation["aliases"].get(CHAMPION), reason=why)
        for row in reading.described(concept):
            if REVOKED in row["tags"]:
                writing.set_tags(concept, row["version"], {REVOKED: None})
        for alias, number in revocation["aliases"].items():
            writing.set_alias(entry, alias, number)
        writing.set_revocation(entry, None)
    return revocation["aliases"]


def history(concept: str) -> dict[str, Any]:
    """Return what `past` does.

    Raises:
        ValueError: the concept has no versions.
    """
    found = past(concept)
    if not found["versions"]:
        existing_version(concept, None)
    return found


def past(concept: str) -> dict[str, Any]:
    """Return all that happened to a concept as {concept, revoked, versions, events}, versions and events oldest first."""
    entry = reading.entry(concept)
    versions = [
        {key: row[key] for key in ("version", "created", "aliases")}
        | {key: row["tags"].get(key) for key in ("digest", "decision", "decision_reason")}
        | {name: score.as_json() for name, score in score_record(row["version"], row["tags"]).scores.items()}
        for row in reading.descriptions(entry)
    ]
    revocation = entry.revocation
    return {"concept": concept, "revoked": revocation["why"] if revocation else None, "versions": versions, "events": entry.events}


def existing_version(concept: str, version: int | None) -> int:
    """Return `version` if the concept has it, or the newest version for None.

    Raises:
        ValueError: there is no such version.
    """
    numbers = [int(row.version) for row in reading.minted(f"name = '{connection.model_name(concept)}'")]
    if not numbers:
        raise ValueError(f"concept {concept!r} has no versions in the registry; build it with `wordmint build {concept}`")
    if version is not None and version not in numbers:
        raise ValueError(f"concept {concept!r} has no version {version}; it has {', '.join(map(str, numbers))}")
    return numbers[-1] if version is None else version


def weigh(concept: str, version: int, tags: Mapping[str, str], champion: int | None, accept: str = "", floor: bool = True) -> Decision:
    """Decide between a version and the champion by their tags; `tags` are the version's."""
    defender = None if champion is None else score_record(champion, reading.tags(concept, champion))
    return decide(concept, score_record(version, tags), defender, accept, floor)


def tags_of(decision: Decision) -> dict[str, str]:
    return {
        "decision": decision.verdict,
        "decision_reason": decision.reason,
        "decision_against": "none" if decision.against is None else str(decision.against),
        "decision_numbers": json.dumps(decision.numbers),
    }


def write_decision(entry: reading.Entry, version: int, tags: Mapping[str, str], decision: Decision, again: bool = False) -> None:
    """Write a decision into the concept's history and the tags of its version; repeat a decision that is there already only if `again`.

    tags: those that the version has, which may be of the decision from the version's creation on.
    """
    line = {"version": version, "against": decision.against, "verdict": decision.verdict, "reason": decision.reason}
    new = tags_of(decision)
    changed = again or any(tags.get(key) != value for key, value in new.items())
    if changed or not any(line.items() <= event.items() for event in entry.events if event["event"] == "decision"):
        writing.add_event(entry, event="decision", **line, numbers=decision.numbers)
    if changed:
        writing.set_tags(entry.concept, version, {"decision_at": now(), **new})


def crown(entry: reading.Entry, version: int) -> None:
    """Make a version champion and the champion that it replaces `previous`."""
    old = entry.aliases.get(CHAMPION)
    if old != version:
        writing.add_event(entry, event="promote", version=version, against=old)
        if old is not None:  # first, so that a rollback works after an interruption
            writing.set_alias(entry, PREVIOUS, old)
        writing.set_alias(entry, CHAMPION, version)
    if entry.aliases.get(CHALLENGER) == version:
        writing.drop_alias(entry, CHALLENGER)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
