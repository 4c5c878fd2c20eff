"""How the command sets its surroundings up."""

import json
import os
import subprocess
import sys

from flows.cli.main import TELEMETRY

LOOK = """
import flows.cli.main, json, os
from prefect.settings import get_current_settings
print(json.dumps([dict(os.environ), get_current_settings().server.analytics_enabled]))
"""


def look(**own: str) -> list:
    """Return the environment of a process that imported the command, and whether its Prefect server would tell of itself."""
    plain = {name: value for name, value in os.environ.items() if name not in TELEMETRY}
    return json.loads(subprocess.run([sys.executable, "-c", LOOK], env=plain | own, capture_output=True, text=True, check=True).stdout)


def test_telemetry_is_off_unless_the_user_turned_it_on() -> None:
    environment, prefect = look()
    assert {name: environment[name] for name in TELEMETRY} == TELEMETRY
    assert prefect is False
    environment, prefect = look(PREFECT_SERVER_ANALYTICS_ENABLED="true", DO_NOT_TRACK="0")
    assert (environment["PREFECT_SERVER_ANALYTICS_ENABLED"], environment["DO_NOT_TRACK"], prefect) == ("true", "0", True)
