"""The cells of a study: each is a concept of the study's own catalog, so that the usual stages build it and write its records."""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from pydantic import Field, model_validator

from tasks import artifacts
from tasks.concepts.captions import captions_file
from tasks.documents import as_yaml
from tasks.inversion.methods import method
from tasks.inversion.options import FROM_PICTURES
from tasks.pipeline import repository
from tasks.pipeline.graph import declared
from tasks.settings import Section, Settings, read_params

if TYPE_CHECKING:  # the flow reads plans before torch is needed
    from tasks.diffusion.families.parts import Family

PLAN = Path("docs/study/study.yaml")
STAGES = ("curate", "invert", "sample", "score")


class Guided(Section):
    """Setups whose words are drawn with another guidance scale too."""

    guidance_scale: float = Field(gt=1)
    setups: tuple[str, ...] = Field(min_length=1)


class GuideRules(Section):
    """The CLIP that guides where the study draws without a prompt, and how."""

    model: str
    """As `scorer.model`; it must not be the scorer."""
    pretrained: str | None
    """As `scorer.pretrained`."""
    scale: float = Field(gt=0)
    """What its gradient is multiplied by."""
    start: float = Field(gt=0, le=1)
    """Where drawing from a training picture starts, in shares of the noise schedule."""


class Plan(Section):
    """docs/study/study.yaml."""

    things: dict[str, str] = Field(min_length=1)
    """Thing that has a folder in data/larger -> the ordinary word that its word starts as."""
    pictures: int = Field(ge=1)
    """The pictures that a word learns from, the first of its folder."""
    seeds: tuple[int, ...] = Field(min_length=1)
    pictures_per_prompt: int = Field(ge=2)
    num_inference_steps: int = Field(ge=1)
    plain: dict[str, Any]
    """The section `invert` that every setup starts from."""
    setups: dict[str, dict[str, Any]]
    """Setup -> changes to `plain`; `initializer_token` replaces the ordinary word."""
    once: tuple[str, ...] = ()
    """Setups that are trained with the first seed alone."""
    sizes: tuple[int, ...]
    """The numbers of pictures to compare; the last one is the whole larger set."""
    stop: dict[str, dict[str, Any]]
    stop_things: int = Field(ge=1)
    """The first things alone take part in the comparison of stops, which is long."""
    guided: Guided
    guide: GuideRules

    @model_validator(mode="after")
    def check_setups(self) -> Self:
        for key, named in {"guided.setups": self.guided.setups, "once": self.once}.items():
            if unknown := [setup for setup in named if setup not in self.setups]:
                raise ValueError(f"{key} has {', '.join(unknown)}, which is no setup; the setups are {', '.join(self.setups)}")
        return self

    def seeds_of(self, setup: str) -> tuple[int, ...]:
        return self.seeds[:1] if setup in self.once else self.seeds


class Cell(NamedTuple):
    """A thing that is learned, or drawn by a rival, in one way with one seed."""

    kind: str
    """setup, size, stop, guided or rival: which part of the study it belongs to."""
    setup: str
    concept: str
    seed: int

    @property
    def name(self) -> str:
        """Its name in the study's results."""
        return f"{self.concept}-{self.kind}-{self.setup}-{self.seed}"

    @property
    def key(self) -> str:
        """Its concept in a catalog. A guided cell has its setup's, and so the run-cache finds the word, which is not trained again."""
        return (self._replace(kind="setup") if self.kind == "guided" else self).name


def load_plan(quick: bool) -> Plan:
    """Read the plan; with `quick`, the keys in its section `quick` replace others.

    Raises:
        ValueError: a key is unknown or missing, or a value breaks its rule.
    """
    document = dict(read_params(PLAN))
    changes = document.pop("quick", {})
    return Plan.model_validate(document | changes if quick else document)


def cells_of(plan: Plan) -> Iterator[Cell]:
    """Yield the cells of a plan; the kinds `stop` and `size` take only the first seed."""
    for number, concept in enumerate(plan.things):
        for setup in plan.setups:
            yield from (Cell("setup", setup, concept, seed) for seed in plan.seeds_of(setup))
        for setup in plan.guided.setups:
            yield from (Cell("guided", setup, concept, seed) for seed in plan.seeds_of(setup))
        yield from (Cell("size", str(size), concept, plan.seeds[0]) for size in plan.sizes)
        yield from (Cell("stop", setup, concept, plan.seeds[0]) for setup in plan.stop if number < plan.stop_things)


def impossible(plan: Plan, family: "Family", encoder: str | None) -> list[str]:
    """Return the setups that a base model cannot learn: it lacks the layers that the method changes, or no encoder makes words for it."""

    def cannot(changes: dict[str, Any]) -> bool:
        layers = getattr(method((plan.plain | changes)["method"]), "LAYERS", None)
        return bool(layers and layers not in family.layers) or (changes.get("initializer_token") == FROM_PICTURES and not encoder)

    return [setup for setup, changes in plan.setups.items() if cannot(changes)]


def inversion_of(cell: Cell, plan: Plan) -> dict[str, Any]:
    """Return the section `invert` of a cell."""
    changes = {key: value for key, value in changes_of(cell, plan).items() if key != "initializer_token"}
    return plan.plain | changes | {"seed": cell.seed}


def changes_of(cell: Cell, plan: Plan) -> dict[str, Any]:
    return {"setup": plan.setups, "guided": plan.setups, "stop": plan.stop}.get(cell.kind, {}).get(cell.setup, {})


def lay_out(cells: Sequence[Cell], plan: Plan, settings: Settings, root: Path, cache: Path) -> None:
    """Make `root` the catalog whose concepts are the cells; earlier results stay, and DVC finds the stale ones.

    All concepts of a catalog are drawn with one guidance scale, so cells of the kind `guided` have a catalog of their own.

    cache: the catalog whose results this one shares; it may be itself.

    Raises:
        ValueError: a thing has too few pictures.
    """
    for cell in cells:
        with artifacts.new_folder(root / artifacts.images(cell.key)) as folder:
            pictures = pictures_of(cell, plan)
            for picture in pictures:
                shutil.copy(picture, folder / picture.name)
            if captions := captions_of(pictures):
                (folder / "captions.yaml").write_text(as_yaml(captions), encoding="utf-8")
    (root / "data/base").unlink(missing_ok=True)
    (root / "data/base").symlink_to(os.path.relpath(artifacts.DATA / "base", root / "data"))
    artifacts.write_bytes(root / "params.yaml", as_yaml(parameters(cells, plan, settings)).encode())
    artifacts.write_bytes(root / "dvc.yaml", as_yaml({"stages": stages()}).encode())
    if not (root / ".dvc").exists():
        repository.new_repo(root)
        with (root / ".dvc/config").open("a", encoding="utf-8") as config:
            config.write(f"[cache]\n    dir = {os.path.relpath(cache / '.dvc/cache', root / '.dvc')}\n")


def pictures_of(cell: Cell, plan: Plan) -> list[Path]:
    """Return the pictures that a cell learns from."""
    folder = artifacts.larger(cell.concept)
    pictures = sorted(path for path in folder.glob("*") if path.is_file() and path.name != "captions.yaml")
    wanted = int(cell.setup) if cell.kind == "size" else plan.pictures
    if len(pictures) < wanted:
        raise ValueError(f"{folder} has {len(pictures)} pictures, and the study wants {wanted}; run `dvc pull`, or change {PLAN}")
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
    document["sample"] |= {"pictures_per_prompt": plan.pictures_per_prompt, "num_inference_steps": plan.num_inference_steps}
    if cells[0].kind == "guided":
        document["sample"]["guidance_scale"] = plan.guided.guidance_scale
    document["concepts"] = {
        cell.key: {
            "kind": "object",
            "placeholder_token": f"<{cell.key}>",
            "initializer_token": changes_of(cell, plan).get("initializer_token", plan.things[cell.concept]),
            "invert": inversion_of(cell, plan),
        }
        for cell in cells
    }
    return document


def stages() -> dict[str, Any]:
    """Return the stages of the graph that a cell goes through; no cell is registered."""
    return {name: stage for name, stage in declared().items() if name in STAGES}
