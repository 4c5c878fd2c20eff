"""The registry's small writes: aliases, tags and the history."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.faults import point
from tasks.registry.connection import model_name
from tasks.registry.database import put
from tasks.registry.reading import HISTORY, REVOKED, Entry

MOMENT = f"{HISTORY}%Y%m%dT%H%M%S.%fZ"


def set_alias(entry: Entry, alias: str, version: int) -> None:
    import mlflow

    put(mlflow.MlflowClient().set_registered_model_alias, model_name(entry.concept), alias, str(version))
    entry.aliases[alias] = version
    point("alias set")


def drop_alias(entry: Entry, alias: str) -> None:
    import mlflow

    mlflow.MlflowClient().delete_registered_model_alias(model_name(entry.concept), alias)
    del entry.aliases[alias]
    point("alias dropped")


def set_tags(concept: str, version: int, values: Mapping[str, str | None]) -> None:
    """Set the tags of a version one after the other; the value None deletes a tag."""
    import mlflow

    client, name = mlflow.MlflowClient(), model_name(concept)
    for key, value in values.items():
        if value is None:
            client.delete_model_version_tag(name, str(version), key)
        else:
            put(client.set_model_version_tag, name, str(version), key, value)


def set_revocation(entry: Entry, value: Mapping[str, Any] | None) -> None:
    """Mark a concept as revoked; None lifts it."""
    import mlflow

    client, name = mlflow.MlflowClient(), model_name(entry.concept)
    if value is None:
        client.delete_registered_model_tag(name, REVOKED)
        del entry.tags[REVOKED]
    else:
        put(client.set_registered_model_tag, name, REVOKED, mark := json.dumps(value))
        entry.tags[REVOKED] = mark
        point("revocation marked")


def add_event(entry: Entry, **event: Any) -> None:
    """Write one line of a concept's history as a tag of its model. Its key holds the time, or if the clock went back, one after the last line's."""
    import mlflow

    now = datetime.now(UTC)
    line = json.dumps({"at": now.isoformat(timespec="seconds"), **event}, ensure_ascii=False)
    if written := [key for key in entry.tags if key.startswith(HISTORY)]:
        now = max(now, datetime.strptime(max(written), MOMENT).replace(tzinfo=UTC) + timedelta(microseconds=1))
    mlflow.MlflowClient().set_registered_model_tag(model_name(entry.concept), key := now.strftime(MOMENT), line)
    entry.tags[key] = line
    point("history line written, alias not set")
