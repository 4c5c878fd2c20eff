"""An up-to-date catalog: `python -m benchmarks.noop [--json]`, seconds of `wordmint build` against `dvc status` on the same catalog.

Each concept has eleven stand-in files of a few bytes; params.yaml, dvc.yaml, dvc.lock and the registry are real. DVC confirms at the start
that the catalog is up to date.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import mlflow
import typer
import yaml

from benchmarks.result import Row, show
from tasks import artifacts
from tasks.registry import connection, reading
from tasks.registry.connection import tracking_uri
from tasks.settings import load_settings

ROOT = Path(__file__).parent.parent
PROMPTS = ("one", "two", "three", "four", "five")


def make_catalog(folder: Path, count: int) -> None:
    """Write a catalog of `count` built concepts in `folder`, which becomes the working directory."""
    os.chdir(folder)
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, name)
    shutil.copytree(ROOT / "tasks", "tasks", ignore=shutil.ignore_patterns("__pycache__"))
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, check=True)
    params = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    params["concepts"] = {f"c{n}": {"kind": "object", "placeholder_token": f"<c{n}>", "initializer_token": "cat"} for n in range(count)}
    Path("params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    for concept in params["concepts"]:
        for path in (artifacts.images(concept) / "1.png", artifacts.rights(concept), artifacts.manifest(concept), artifacts.learned_embeds(concept)):
            artifacts.write_bytes(path, concept.encode())
        score = {"value": 0.5, "prompt_only": 0.2, "image_only": 0.8}
        artifacts.write_json(artifacts.scores(concept), {"concept": concept, "reconstruction": score, "editability": score})
        artifacts.write_bytes(artifacts.train_record(concept), b"{}")
        for prompt in PROMPTS:
            artifacts.write_bytes(artifacts.samples(concept) / "word" / prompt / "0.png", f"{concept} {prompt}".encode())
    artifacts.write_bytes(artifacts.REPORT / "index.html", b"page")
    register(list(params["concepts"]))
    write_lock(params)


def register(concepts: list[str]) -> None:
    """Register one version of every concept in the catalog's own registry."""
    connection.connect(tracking_uri(load_settings()))
    client = mlflow.MlflowClient()
    for concept in concepts:
        record = {"name": connection.model_name(concept), "version": 1, "digest": f"sha256 of {concept}", "aliases": [reading.CHAMPION]}
        client.create_registered_model(record["name"])
        client.create_model_version(record["name"], str(artifacts.embeddings(concept).absolute()), tags={"digest": record["digest"]})
        client.set_registered_model_alias(record["name"], reading.CHAMPION, "1")
        artifacts.write_json(artifacts.registered(concept), record)


def write_lock(params: dict[str, Any]) -> None:
    """Write the dvc.lock that a build would have written."""
    stages = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]
    entries = {}
    for stage, definition in stages.items():
        for concept in params["concepts"] if "foreach" in definition else [""]:
            text = yaml.safe_dump(definition.get("do", definition)).replace("${key}", concept)
            declared = yaml.safe_load(text)
            sections = [section for section in declared["params"] if isinstance(section, str)]
            outs = [out for kind in ("outs", "metrics") for out in declared.get(kind, [])]
            entries[f"{stage}@{concept}" if concept else stage] = {
                "cmd": declared["cmd"],
                "deps": [hashed(Path(dep)) for dep in declared["deps"]],
                "params": {"params.yaml": {name: value_of(params, name) for name in sections}},
                "outs": [hashed(Path(out)) for out in outs],
            }
    Path("dvc.lock").write_text(yaml.dump({"schema": "2.0", "stages": entries}, Dumper=yaml.CSafeDumper, sort_keys=False), encoding="utf-8")


def value_of(params: dict[str, Any], name: str) -> Any:
    section, _, key = name.partition(".")
    return params[section][key] if key else params[section]


def hashed(path: Path) -> dict[str, Any]:
    """Put a path into DVC's cache and return its entry in dvc.lock."""
    if path.is_file():
        return {"path": path.as_posix(), "hash": "md5", "md5": cached(path.read_bytes()), "size": path.stat().st_size}
    files = sorted((file for file in path.rglob("*") if file.is_file()), key=lambda file: file.relative_to(path).as_posix())
    listing = [{"md5": cached(file.read_bytes()), "relpath": file.relative_to(path).as_posix()} for file in files]
    size = sum(file.stat().st_size for file in files)
    return {"path": path.as_posix(), "hash": "md5", "md5": cached(json.dumps(listing).encode(), ".dir"), "size": size, "nfiles": len(files)}


def cached(data: bytes, suffix: str = "") -> str:
    """Put bytes into DVC's cache and return their name there."""
    name = hashlib.md5(data).hexdigest() + suffix
    path = Path(".dvc/cache/files/md5") / name[:2] / name[2:]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return name


def seconds(*command: str) -> tuple[float, str]:
    """Run a Python module with arguments and return its seconds and its output."""
    started = time.monotonic()
    process = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {process.stderr[-800:]}")
    return time.monotonic() - started, process.stdout


def main(
    counts: Annotated[list[int] | None, typer.Argument(help="concepts of a catalog")] = None, as_json: Annotated[bool, typer.Option("--json")] = False
) -> None:
    """Measure builds of an up-to-date catalog."""
    rows, home = [], Path.cwd()
    for count in counts or [10, 200, 1000]:
        with tempfile.TemporaryDirectory() as folder:
            make_catalog(Path(folder), count)
            peer, output = seconds("dvc", "status")
            if "up to date" not in output:
                raise RuntimeError(f"the catalog is not up to date: {output[:500]}")
            first, output = seconds("flows.cli.main", "build")
            again, _ = seconds("flows.cli.main", "build")
            if "nothing to do" not in output:
                raise RuntimeError(f"a build found something to do: {output[:500]}")
            rows.append(Row(f"{count} concepts, unknown to us", first, peer, "s"))
            rows.append(Row(f"{count} concepts", again, peer, "s"))
            os.chdir(home)
    show("noop", rows, "dvc status", as_json)


if __name__ == "__main__":
    typer.run(main)
