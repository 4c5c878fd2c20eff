"""Catalogs of any size whose pictures, embeddings and scores are made up, and builds of them: `python -m benchmarks.made_up` is `wordmint build`.

The files are of the real kinds and tiny. params.yaml, dvc.yaml, dvc.lock, DVC's cache, the registry and the stage register are real.
"""

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import mlflow
import torch
import yaml
from PIL import Image
from prefect import Task, flow, task
from prefect.cache_policies import NO_CACHE
from safetensors.torch import save_file

from flows import batches, build_catalog
from tasks import artifacts
from tasks.drawing.index import write_index
from tasks.drawing.page import write_page
from tasks.registry import connection, reading
from tasks.registry.connection import tracking_uri
from tasks.registry.promotion import evidence
from tasks.settings import Settings, load_settings

ROOT = Path(__file__).parent.parent
PROMPTS = {"a photo of a {}": "a-photo-of-a", "a {} on the beach": "a-on-the-beach"}
BASE = {"model": "made-up", "revision": None, "weights_sha256": "12" * 32}
JUDGE = {"model": "made-up", "weights_sha256": "34" * 32}


def declaration(concept: str) -> dict[str, str]:
    return {"kind": "object", "placeholder_token": f"<{concept}>", "initializer_token": "cat"}


def declare(folder: Path, concepts: Sequence[str]) -> dict[str, Any]:
    """Make a folder a catalog that declares concepts, and the working directory; return its params.yaml."""
    os.chdir(folder)
    for name in ("dvc.yaml", "params.yaml", ".gitignore"):
        shutil.copy(ROOT / name, name)
    Path("data").mkdir()
    shutil.copy(ROOT / "data/.gitignore", "data/.gitignore")
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, check=True)
    params = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    params["concepts"] = {concept: declaration(concept) for concept in concepts}
    Path("params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    return params


def make_catalog(folder: Path, count: int) -> None:
    """Write a catalog of the built concepts c0, c1, ... in `folder`, which becomes the working directory."""
    params = declare(folder, concepts := [f"c{n}" for n in range(count)])
    for concept in concepts:
        take_picture(concept, concept)
        write_pointer(artifacts.images(concept))
        for leave in (leave_curated, leave_learned, leave_samples, leave_scores):
            leave(concept)
        record = {"name": connection.model_name(concept), "version": 1, "digest": artifacts.sha256(artifacts.learned_embeds(concept))}
        artifacts.write_json(artifacts.registered(concept), record | {"aliases": [reading.CHAMPION]})
    register(concepts)
    settings = load_settings()
    for concept in concepts:
        write_page(concept, settings)
    write_index(settings)
    write_lock(params)


def take_picture(concept: str, subject: str) -> None:
    """Write a picture set of one picture that no other subject gives, and its rights."""
    draw(artifacts.images(concept) / "1.png", subject)
    artifacts.rights(concept).write_text("undeclared: made up\n", encoding="utf-8")


def draw(path: Path, subject: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.frombytes("RGB", (4, 4), hashlib.shake_256(subject.encode()).digest(48)).save(path)


def subject_of(concept: str) -> str:
    return artifacts.sha256(artifacts.images(concept) / "1.png")


def leave_curated(concept: str) -> None:
    picture = {"source": "1.png", "sha256": subject_of(concept), "kept": True}
    artifacts.write_json(artifacts.manifest(concept), {"concept": concept, "resolution": 4, "pictures": [picture]})
    draw(artifacts.curated(concept) / "1.png", subject_of(concept))


def leave_learned(concept: str, seed: int = 0) -> None:
    path = artifacts.learned_embeds(concept)
    path.parent.mkdir(parents=True, exist_ok=True)
    seed += int(subject_of(concept)[:8], 16)
    save_file({f"<{concept}>": torch.randn(1, 8, generator=torch.Generator().manual_seed(seed))}, path, {"format": "pt"})
    train = {"concept": concept, "method": "norm_held", "optimizer_steps": 1, "stopped": "cap", "seconds": 0.0, "norm": 0.5, "seed": 0}
    train |= {"vocabulary_norm_median": 0.4, "data_sha256": subject_of(concept), "base": BASE, "settings": {"learning_rate": 5.0e-3}}
    artifacts.write_json(artifacts.train_record(concept), train)


def leave_samples(concept: str) -> None:
    for slug in PROMPTS.values():
        draw(artifacts.samples(concept) / "word" / slug / "000000.png", f"{subject_of(concept)} {slug}")
        draw(artifacts.samples(concept) / "prompt_only" / slug / "000000.png", slug)
    record = {"concept": concept, "embedding_digest": artifacts.sha256(artifacts.learned_embeds(concept)), "base": BASE, "seeds": [0]}
    prompts = [{"prompt": prompt, "slug": slug} for prompt, slug in PROMPTS.items()]
    artifacts.write_json(artifacts.samples_record(concept), record | {"num_inference_steps": 2, "guidance_scale": 4.0, "prompts": prompts})


def leave_scores(concept: str, value: float | None = None) -> None:
    """Leave scores of one value, by default of values that differ from concept to concept as measured ones do."""
    chance = [int(subject_of(concept)[start : start + 4], 16) / 0xFFFF for start in (0, 4)]
    values = dict(zip(("reconstruction", "editability"), [value or 0.4 + 0.4 * share for share in chance], strict=True))
    scores: dict[str, Any] = {"concept": concept, "embedding_digest": artifacts.sha256(artifacts.learned_embeds(concept)), "fidelity": None}
    for name, middle in values.items():
        scores[name] = {"value": middle, "low": middle - 0.05, "high": middle + 0.05, "prompt_only": 0.2, "image_only": 0.9, "coarse_word": 0.2}
    rows = [{"prompt": prompt, **values} for prompt in PROMPTS]
    scorer = JUDGE | {"fidelity": None, "prompt_suite": "56" * 32}
    artifacts.write_json(artifacts.scores(concept), scores | {"scorer": scorer, "prompts": rows})


def write_pointer(folder: Path) -> None:
    """Put a picture set under DVC, as `dvc add` does."""
    entry = hashed(folder) | {"path": folder.name}
    artifacts.pointer(folder).write_text(yaml.safe_dump({"outs": [entry]}, sort_keys=False), encoding="utf-8")
    with (folder.parent / ".gitignore").open("a", encoding="utf-8") as ignored:
        ignored.write(f"/{folder.name}\n")


def register(concepts: Sequence[str]) -> None:
    """Register a version of the first concept, and copy its rows for the others: ten thousand requests take ten minutes."""
    connection.connect(uri := tracking_uri(load_settings()))
    client, first = mlflow.MlflowClient(), artifacts.read_json(artifacts.registered(concepts[0]))
    tags = evidence(artifacts.read_json(artifacts.scores(concepts[0])), artifacts.read_json(artifacts.samples_record(concepts[0])), "", "")
    tags |= {"digest": first["digest"], "placeholder_token": f"<{concepts[0]}>", "kind": "object"}
    client.create_registered_model(first["name"])
    client.create_model_version(first["name"], str(artifacts.embeddings(concepts[0])), tags=tags)
    client.set_registered_model_alias(first["name"], reading.CHAMPION, "1")
    with sqlite3.connect(str(connection.sqlite_file(uri))) as database:
        for table in ("registered_models", "model_versions", "model_version_tags", "registered_model_aliases"):
            rows = database.execute(f"SELECT * FROM {table}").fetchall()
            for concept in concepts[1:]:
                digest = artifacts.read_json(artifacts.registered(concept))["digest"]
                of_it = {first["name"]: connection.model_name(concept), first["digest"]: digest, f"<{concepts[0]}>": f"<{concept}>"}
                copies = [[of_it.get(value, value) for value in row] for row in rows]
                database.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", copies)


def write_lock(params: dict[str, Any]) -> None:
    """Write the dvc.lock that a build would have written."""
    stages = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]
    entries = {}
    for stage, definition in stages.items():
        for concept in params["concepts"] if "foreach" in definition else [""]:
            text = json.dumps(definition.get("do", definition)).replace("${key}", concept)
            declared = json.loads(text)
            outs = [out for kind in ("outs", "metrics", "plots") for out in declared.get(kind, [])]
            entries[f"{stage}@{concept}" if concept else stage] = {
                "cmd": declared["cmd"],
                "deps": [hashed(Path(dep)) for dep in declared["deps"]],
                "params": {"params.yaml": {name: value_of(params, name) for name in declared["params"]}},
                "outs": [hashed(Path(*out)) for out in (out if isinstance(out, dict) else [out] for out in outs)],
            }
    document = json.loads(json.dumps({"schema": "2.0", "stages": entries}))  # else YAML writes what entries share as anchors
    Path("dvc.lock").write_text(yaml.dump(document, Dumper=yaml.CSafeDumper, sort_keys=False), encoding="utf-8")


def value_of(params: dict[str, Any], name: str) -> Any:
    section, _, key = name.partition(".")
    return params[section][key] if key else params[section]


def hashed(path: Path) -> dict[str, Any]:
    """Put a path into DVC's cache and return its entry in dvc.lock."""
    if path.is_file():
        return {"path": path.as_posix(), "hash": "md5", "md5": cached(path.read_bytes()), "size": path.stat().st_size}
    files = sorted((file for file in path.rglob("*") if file.is_file()), key=lambda file: file.relative_to(path).parts)
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


def made_up_stages() -> dict[str, Task]:
    """Return the stages by name; all but register leave made-up results at once."""

    def invert(concepts: Sequence[str], settings: Settings) -> Iterator[tuple[str, None]]:
        for concept in concepts:
            leave_learned(concept)
            yield concept, None

    stages = {"curate": leave_curated, "sample": leave_samples, "score": leave_scores}
    made_up = {name: task(lambda concept, settings, leave=leave: leave(concept), name=name, cache_policy=NO_CACHE) for name, leave in stages.items()}
    return {**made_up, "invert": task(invert, cache_policy=NO_CACHE), "register": batches.load_stage("register")}


if __name__ == "__main__":
    vars(batches)["load_stage"] = made_up_stages().__getitem__
    if sys.argv[1:] == ["start"]:  # what every build pays before it does anything: its imports, and Prefect's temporary server
        flow(lambda: None, name="nothing")()
    else:
        build_catalog.build_catalog()
