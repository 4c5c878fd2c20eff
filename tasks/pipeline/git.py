"""Questions to Git: the commit, and whether a concept's inputs differ from it."""

import subprocess

from tasks import artifacts


def git(*arguments: str) -> str | None:
    """Return what Git prints, or None where it fails, such as outside of a repository."""
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def revision(concept: str) -> tuple[str | None, bool]:
    """Return Git's commit and whether what decides a concept's word differs from it: declarations, code, pictures and whose they are."""
    inputs = [str(artifacts.pointer(folder)) for folder in artifacts.inputs(concept)]
    changes = git("status", "--porcelain", "--", "params.yaml", "dvc.yaml", "tasks", str(artifacts.rights(concept)), *inputs)
    return git("rev-parse", "--verify", "HEAD"), changes != ""
