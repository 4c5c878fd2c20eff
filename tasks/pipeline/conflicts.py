"""Settling what two people changed differently: one side of a setting, of a concept or of everything, and the merged rest stays."""

from collections.abc import Sequence
from pathlib import Path

from tasks import artifacts
from tasks.pipeline.git import git
from tasks.pipeline.merge_params import conflicts_in, parse, taken, within

PARAMS = Path("params.yaml")
THEIRS = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REBASE_HEAD")
"""Git's names of the commit that a merge, a cherry-pick or a rebase brings in."""


def take(side: str, path: str = "") -> tuple[list[str], list[str]]:
    """Keep one side, `ours` or `theirs`, of the conflicts at and below a path, by default of all; return what was taken and what is left.

    path: as in params.yaml, such as `sample.seed`. `concepts.fox` includes its pictures and their rights.

    Raises:
        ValueError: nothing there is in conflict.
    """
    text = PARAMS.read_text(encoding="utf-8")
    settled = taken(text, side, path)
    left = conflicts_in(settled)
    settings = [conflict for conflict in conflicts_in(text) if conflict not in left]
    unmerged = (git("diff", "--name-only", "--relative", "--diff-filter=U") or "").splitlines()
    about = [file for file in unmerged if Path(file).is_relative_to(artifacts.DATA)]
    chosen = [file for file in about if within(f"concepts.{Path(file).stem}", path)]
    if not settings + chosen:
        open_ones = ", ".join(left + unmerged)
        raise ValueError(f"{path} is not in conflict; these are: {open_ones}" if path and open_ones else "there is no conflict to settle")
    for file in chosen:
        if git("checkout", f"--{side}", "--", file) is None:  # that side deleted it
            git("rm", "--quiet", "--", file)
        else:
            git("add", "--", file)
    artifacts.write_bytes(PARAMS, settled.encode())
    if settings:
        bring_back(side, [key for key in concepts(settled) if any(within(f"concepts.{key}", conflict) for conflict in settings)])
    if "<<<<<<<" not in settled:
        git("add", "--", str(PARAMS))
    return settings + chosen, left + [file for file in about if file not in chosen]


def concepts(text: str) -> Sequence[str]:
    return list(parse(taken(text, "ours"), str(PARAMS)).value.get("concepts") or {})


def bring_back(side: str, kept: Sequence[str]) -> None:
    """Bring back the files of concepts that the other side removed, which is no conflict where this side left them as they were."""
    commits = ["HEAD"] if side == "ours" else [name for name in THEIRS if git("rev-parse", "--verify", "--quiet", name)]
    for concept in kept:
        for path in (*map(artifacts.pointer, artifacts.inputs(concept)), artifacts.rights(concept)):
            if not path.exists():
                git("checkout", *commits[:1], "--", str(path))  # fails for what it never had, such as an imported file
