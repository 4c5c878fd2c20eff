"""The `wordmint` command that builds on a schedule."""

import os
from typing import Annotated

import typer

from tasks.pipeline.door import one_line_errors
from tasks.settings import load_settings

app = typer.Typer()


@app.command()
def serve(cron: Annotated[str, typer.Option(help="when to look for what is stale, in UTC")] = "0 3 * * *") -> None:
    """Build what is stale on a schedule, until stopped; a run that falls due with or during another run is skipped."""
    with one_line_errors():
        load_settings()
        os.environ.update({"PREFECT_LOGGING_LEVEL": "INFO", "PREFECT_LOGGING_EXTRA_LOGGERS": "tasks"})  # there is no progress bar to show instead
        from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
        from prefect.schedules import Cron
        from prefect.settings import PREFECT_API_URL

        from flows.build_catalog import build_catalog

        if not PREFECT_API_URL.value():
            raise ValueError("a schedule needs a Prefect server; start one and set PREFECT_API_URL as docs/operations.md says")
        one_at_a_time = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
        build_catalog.serve(name="schedule", schedule=Cron(cron), global_limit=one_at_a_time)
