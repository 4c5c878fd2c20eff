"""The merge driver that Git runs in a catalog for the files that .gitattributes gives it, in a merge, a rebase and a cherry-pick.

Git names temporary files with the common version, ours and theirs, and takes the result from the place of ours. The exit code says whether that is
whole or has conflicts. After any other exit code, as of a Python that is gone, the command goes on with Git's own merge of lines.
"""

import re
import shlex
import sys
from pathlib import Path

from tasks import artifacts
from tasks.pipeline.git import git
from tasks.pipeline.merge_lock import merge_lock
from tasks.pipeline.merge_params import merge_params

NAME = "merge.wordmint.driver"
ROOT = Path(__file__).parents[2]
WHOLE, CONFLICTS, BY_LINES = 0, 3, 4


def set_up(root: Path = Path()) -> None:
    """Name the driver in the configuration of this clone, where its .gitattributes asks for it: a clone inherits no configuration."""
    attributes = root / ".gitattributes"
    if not attributes.exists() or not re.search(r"\bmerge=wordmint\b", attributes.read_text(encoding="utf-8")):
        return
    if git("-C", str(root), "config", NAME) != command():
        git("-C", str(root), "config", NAME, command())  # of two processes at once one writes it, and the other fails


def command() -> str:
    """Return the driver's command, which needs nothing on the PATH and no package but this one."""
    package, python = (shlex.quote(str(path)).replace("%", "%%") for path in (ROOT, sys.executable))
    driver = f"PYTHONPATH={package} {python} -P -m tasks.pipeline.merge_driver %O %A %B %L %P"
    by_lines = "git merge-file -L ours -L base -L theirs --marker-size=%L %A %O %B"
    return f"{driver}; code=$?; case $code in {WHOLE}|{CONFLICTS}) exit $code;; esac; {by_lines}"


def main(base: str, ours: str, theirs: str, marks: str, path: str) -> int:
    """Merge one file and return the exit code."""
    conflicts: list[str] = []
    try:
        common, mine, other = (Path(version).read_bytes().decode() for version in (base, ours, theirs))
        if Path(path).suffix == ".dvc":
            say(f"concepts.{Path(path).stem}", path, marks)
            return BY_LINES
        if Path(path).name == "dvc.lock":
            text = merge_lock(common, mine, other)
        else:
            text, conflicts = merge_params(common, mine, other, int(marks))
    except ValueError as error:
        print(f"{path} is merged line by line: {error}", file=sys.stderr)
        return BY_LINES
    artifacts.write_bytes(Path(ours), text.encode())
    for conflict in conflicts:
        say(conflict, path, marks)
    return CONFLICTS if conflicts else WHOLE


def say(conflict: str, path: str, marks: str) -> None:
    """Name a conflict and the command that takes one side; longer marks are those of a merge of common versions, which nobody sees."""
    if int(marks) == 7:
        print(f"{path}: both sides changed {conflict}; `wordmint take ours {conflict}` or `wordmint take theirs {conflict}`", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
