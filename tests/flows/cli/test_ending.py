"""How a process of wordmint ends."""

import subprocess
import sys

import pytest

ENDING = """
import atexit, sys
from flows.cli.ending import swift_end

class Module:
    def __del__(self):
        print("freed")

module = Module()
with swift_end():
    atexit.register(print, "server stopped")
    print("built")
    sys.exit({})
"""


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [("0", 0, "built\nserver stopped\n"), ("None", 0, "built\nserver stopped\n"), ("'error: no such word'", 1, "built\nserver stopped\nfreed\n")],
)
def test_a_process_that_succeeded_ends_without_freeing_everything(status: str, code: int, said: str) -> None:
    ended = subprocess.run([sys.executable, "-c", ENDING.format(status)], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (code, said)
    assert ended.stderr == ("" if code == 0 else "error: no such word\n")
