"""The cells of a study: each is a concept of the study's own catalog, so that the usual stages build it and write its records."""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import yaml
from pydantic import Field, model_validator

from tasks import artifacts
from tasks.concepts.captions import captions_file
from tasks.pipeline import repository
from tasks.pipeline.graph import declared
from tasks.settings import Section, Settings, read_params

PLAN = Path("docs/study/study.yaml")
STAGES = ("curate", "invert", "sample", "score")


class Guided(Section):
    """Setups that are trained again and drawn with another guidance scale."""

    guidance_scale: float = Field(gt=1)
    setups: tuple[str, ...] = Field(min_length=1)


class Plan(Section):
    """docs/study/study.yaml."""

    concepts: tuple[str, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(min_length=1)
    pictures_per_prompt: int = Field(ge=2)
    plain: dict[str, Any]
    """The section `invert` that every setup starts from."""
    setups: dict[str, dict[str, Any]]
    sizes: tuple[int, ...]
    """The numbers of pictures to compare; the last one is the whole larger set."""
    stop: dict[str, dict[str, Any]]
    guided: Guided

    @model_validator(mode="after")
    def check_guided(self) -> Self:
        if unknown := [setup for setup in self.guided.setups if setup not in self.setups]:
            raise ValueError(f"guided.setups has {', '.join(unknown)}, which is no setup; the setups are {', '.join(self.setups)}")
        return self


class Cell(NamedTuple):
    """One training: a concept of params.yaml, learned in one way with one seed."""

    kind: str
    """setup, size, stop or guided: which part of the plan it belongs to."""
    setup: str
    concept: str
    seed: int

    @property
    def key(self) -> str:
        return f"{self.concept}-{self.kind}-{self.setup}-{self.seed}"


def load_plan(quick: bool) -> Plan:
    """Read the plan; with `quick`, the keys in its section `quick` replace others.

    Raises:
        ValueError: a key is unknown or missing, or a value breaks its rule.
    """
    document = read_params(PLAN)
    changes = document.pop("quick", {})
    return Plan.model_validate(document | changes if quick else document)


def cells_of(plan: Plan) -> Iterator[Cell]:
    """Yield the cells of a plan; the kinds `stop` and `size` take only the first seed."""
    for concept in plan.concepts:
        for setup in plan.setups:
            yield from (Cell("setup", setup, concept, seed) for seed in plan.seeds)
        for setup in plan.guided.setups:
            yield from (Cell("guided", setup, concept, seed) for seed in plan.seeds)
        yield from (Cell("size", str(size), concept, plan.seeds[0]) for size in plan.sizes)
        yield from (Cell("stop", setup, concept, plan.seeds[0]) for setup in plan.stop)


def inversion_of(cell: Cell, plan: Plan) -> dict[str, Any]:
    """Return the section `invert` of a cell."""
    changes = {"setup": plan.setups, "guided": plan.setups, "stop": plan.stop}.get(cell.kind, {}).get(cell.setup, {})
    return plan.plain | changes | {"seed": cell.seed}


def lay_out(cells: Sequence[Cell], plan: Plan, settings: Settings, root: Path) -> None:
    """Make `root` the catalog whose concepts are the cells; earlier results stay, and DVC finds the stale ones.

    All concepts of a catalog are drawn with one guidance scale, so cells of the kind `guided` have a catalog of their own.

    Raises:
        ValueError: a concept is not in params.yaml, or has no pictures.
    """
    for cell in cells:
        with artifacts.new_folder(root / artifacts.images(cell.key)) as folder:
            pictures = pictures_of(cell, settings)
            for picture in pictures:
                shutil.copy(picture, folder / picture.name)
            if captions := captions_of(pictures):
                (folder / "captions.yaml").write_text(yaml.safe_dump(captions), encoding="utf-8")
    (root / "data/base").unlink(missing_ok=True)
    (root / "data/base").symlink_to(os.path.relpath(artifacts.DATA / "base", root / "data"))
    artifacts.write_bytes(root / "params.yaml", yaml.safe_dump(parameters(cells, plan, settings), sort_keys=False).encode())
    artifacts.write_bytes(root / "dvc.yaml", yaml.safe_dump({"stages": stages()}, sort_keys=False).encode())
    if not (root / ".dvc").exists():
        repository.new_repo(root)


def pictures_of(cell: Cell, settings: Settings) -> list[Path]:
    """Return the pictures that a cell learns from."""
    settings.concept(cell.concept)
    folder = artifacts.larger(cell.concept) if cell.kind == "size" else artifacts.images(cell.concept)
    pictures = sorted(path for path in folder.glob("*") if path.is_file() and path.name != "captions.yaml")
    wanted = int(cell.setup) if cell.kind == "size" else len(pictures)
    if len(pictures) < max(wanted, 1):
        raise ValueError(f"{folder} has {len(pictures)} pictures, and the study wants {wanted or 'some'}; run `dvc pull`, or change {PLAN}")
    return pictures[:wanted]


def captions_of(pictures: Sequence[Path]) -> dict[str, Any]:
    """Return the content of captions.yaml for pictures that may be a part of its set."""
    captions = captions_file(pictures[0].parent).model_dump(exclude_none=True)
    captions["context"] = {picture.name: captions["context"][picture.name] for picture in pictures if picture.name in captions["context"]}
    return {kind: text for kind, text in captions.items() if text}


def parameters(cells: Sequence[Cell], plan: Plan, settings: Settings) -> dict[str, Any]:
    """Return the params.yaml of the study's catalog."""
    document = settings.model_dump(mode="json")
    document["curate"] |= {"min_images": 1, "near_duplicate_distance": 0, "min_similarity": -1.0}  # every picture of a size counts
    document["sample"]["pictures_per_prompt"] = plan.pictures_per_prompt
    if cells[0].kind == "guided":
        document["sample"]["guidance_scale"] = plan.guided.guidance_scale
    document["concepts"] = {
        cell.key: {**document["concepts"][cell.concept], "placeholder_token": f"<{cell.key}>", "invert": inversion_of(cell, plan)} for cell in cells
    }
    return document


def stages() -> dict[str, Any]:
    """Return the stages of the graph that a cell goes through; no cell is registered."""
    return {name: stage for name, stage in declared().items() if name in STAGES}
