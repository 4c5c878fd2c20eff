"""The commit of the working tree, and whether a concept's inputs differ from it."""

import subprocess

from tasks import artifacts


def git(*arguments: str) -> str | None:
    """Return what Git prints, or None where it fails, as outside of a repository, or is not installed."""
    try:
        result = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return result.stdout.strip() if result.returncode == 0 else None


def revision(concept: str) -> tuple[str | None, bool]:
    """Return Git's commit and whether the inputs of a concept's word differ from it: declarations, code, pictures and their rights."""
    inputs = [str(artifacts.pointer(folder)) for folder in artifacts.inputs(concept)]
    changes = git("status", "--porcelain", "--", "params.yaml", "dvc.yaml", "tasks", str(artifacts.rights(concept)), *inputs)
    return git("rev-parse", "--verify", "HEAD"), changes != ""
