"""The declarations in step: params.yaml, dvc.yaml, the flow, and who may import whom."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows import batches
from tasks.diffusion.base_model import weights_sha256
from tasks.pipeline import graph
from tasks.settings import Settings, load_settings

ROOT = Path(__file__).parents[1]
PURE = ("shipped", "documents", "faults", "words", "diffusion", "inversion", "similarity", "pictures")
STAGES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
FOREACH = [name for name, stage in STAGES.items() if "foreach" in stage]
TEMPLATES = {"page": "page.html.j2", "report": "index.html.j2"}
BANNED = {"utils", "common", "core", "helpers", "manager", "misc", "base_class"}
METHODS = {
    "base_model": {"base"},
    "concept": {"concepts"},
    "origin": {"concepts"},
    "inversion": {"invert", "concepts"},
    "prompts": {"sample", "concepts"},
}
"""Which sections the methods of Settings read."""


def definition(stage: str) -> dict[str, Any]:
    return STAGES[stage].get("do", STAGES[stage])


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def declared_sections(stage: str) -> set[str]:
    """The sections of params.yaml that a stage depends on; one concept counts as concepts."""
    return {param.split(".")[0] for param in definition(stage)["params"] if isinstance(param, str)}


def sections_read(stage: str) -> set[str]:
    """The sections that a task module, or its page's template, names as `settings.<section>`."""
    tree = ast.parse((ROOT / f"tasks/{stage}.py").read_text(encoding="utf-8"))
    names = {
        node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "settings"
    }
    if stage in TEMPLATES:
        names |= set(re.findall(r"\bsettings\.(\w+)", (ROOT / "tasks/drawing" / TEMPLATES[stage]).read_text(encoding="utf-8")))
    sections = set().union(*(METHODS.get(name, {name}) for name in names))
    assert sections <= set(Settings.model_fields), f"tasks/{stage}.py reads what is no section"
    return sections


def outputs_of(stage: str) -> list[str]:
    """The paths that a stage writes; a plot's comes with how it is drawn."""
    declared = [out for kind in ("outs", "metrics", "plots") for out in definition(stage).get(kind, [])]
    return [path for out in declared for path in ([out] if isinstance(out, str) else out)]


def producers(stage: str) -> set[str]:
    """The stages whose outputs a stage depends on."""

    def overlap(one: str, other: str) -> bool:
        return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")

    return {name for name in STAGES if any(overlap(dep, out) for dep in definition(stage)["deps"] for out in outputs_of(name))}


def imported(path: Path) -> set[str]:
    """The full names of the modules that a source file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import; write it out"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("model", ["emoji-ldm", "emoji-clip", "emoji-encoder", "emoji-eye"])
def test_model_card_names_the_weights_beside_it(model: str) -> None:
    folder = ROOT / "data/base" / model
    assert weights_sha256(folder) in (folder / "README.md").read_text(encoding="utf-8")


def test_shipped_params_are_valid_and_name_the_shipped_weights() -> None:
    settings = load_settings(ROOT / "params.yaml")
    fidelity = settings.score.fidelity
    assert settings.concepts and settings.base.revision and settings.scorer.pretrained and fidelity and fidelity.revision
    assert weights_sha256(ROOT / fidelity.model).startswith(fidelity.revision)
    assert weights_sha256(ROOT / settings.base.model).startswith(settings.base.revision)
    assert weights_sha256(ROOT / settings.scorer.model.removeprefix("local-dir:")).startswith(settings.scorer.pretrained)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_a_task_module_of_its_name(stage: str) -> None:
    source = (ROOT / f"tasks/{stage}.py").read_text(encoding="utf-8")
    assert f"def {stage}(" in source
    assert 'if __name__ == "__main__":' in source
    foreach = stage in FOREACH
    assert definition(stage)["cmd"] == f"python -m tasks.{stage}" + (" --concept ${key}" if foreach else "") + f" --edition {graph.edition(stage)}"
    assert STAGES[stage].get("foreach", "${concepts}") == "${concepts}"
    assert foreach == (stage != "report")


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_its_number_and_on_no_source(stage: str) -> None:
    assert all(isinstance(param, str) for param in definition(stage)["params"]), "a catalog's graph reads params.yaml and nothing of the tool"
    assert graph.edition(stage) >= 1
    assert not [dep for dep in definition(stage)["deps"] if not dep.startswith("data/")]


@pytest.mark.parametrize("stage", STAGES)
def test_sections_that_a_task_reads_are_params_of_its_stage(stage: str) -> None:
    read, declared = sections_read(stage) - {"runtime"}, declared_sections(stage)
    assert read <= declared
    assert declared <= set(Settings.model_fields)


@pytest.mark.parametrize("stage", FOREACH)
def test_one_concept_does_not_make_another_stale(stage: str) -> None:
    assert "concepts" not in definition(stage)["params"]
    places = [*definition(stage)["deps"], *outputs_of(stage)]
    assert not [place for place in places if "${key}" not in place]


@pytest.mark.parametrize("stage", STAGES)
def test_runtime_makes_no_stage_stale(stage: str) -> None:
    assert "runtime" not in declared_sections(stage)


def test_one_order_everywhere() -> None:
    assert list(graph.STAGES) == FOREACH[:-1]
    assert all(batches.load_stage(name).name == name for name in graph.STAGES)
    order = [*FOREACH, "report"]
    assert order == list(STAGES)
    for index, stage in enumerate(order):
        assert producers(stage) <= set(order[:index]), f"{stage} comes before what it depends on"
        assert index == 0 or producers(stage), f"{stage} depends on no other stage"


def test_pure_packages_load_no_orchestration() -> None:
    paths = [path.relative_to(ROOT).with_suffix("") for package in PURE for path in sources(f"tasks/{package}")]
    modules = [".".join(path.parts).removesuffix(".__init__") for path in paths]
    assert len(modules) > 10
    program = f"import sys, {', '.join(modules)}; print(*sorted({{'prefect', 'dvc', 'mlflow'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_registration_imports_no_models() -> None:
    """It runs where nothing is trained: in the flow that sends batches to workers, and when only a licence has changed."""
    program = "import sys, flows.build_catalog, tasks.register; print(*sorted({'diffusers', 'open_clip', 'transformers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("package", PURE)
def test_pure_packages_import_nothing_above_them(package: str) -> None:
    allowed = tuple(f"tasks.{name}" for name in PURE)
    for path in sources(f"tasks/{package}"):
        ours = {name for name in imported(path) if name.split(".")[0] in ("tasks", "flows", "tests", "benchmarks")}
        assert not {name for name in ours if not name.startswith(allowed)}, path
        assert not {name.split(".")[0] for name in imported(path)} & {"prefect", "dvc", "mlflow"}, path


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def arrows() -> dict[str, set[str]]:
    """Which of our modules imports which."""
    modules = {module_of(path): path for path in sources("tasks", "flows", "benchmarks")}
    found: dict[str, set[str]] = {}
    for module, path in modules.items():
        names = imported(path)
        found[module] = {name if name in modules else name.rpartition(".")[0] for name in names} & modules.keys() - {module}
    return found


def room_of(module: str) -> str:
    """A folder below tasks/ or flows/; a stage, settings and artifacts stand alone, as the modules of flows/ together do."""
    first, *rest = module.split(".")
    if rest and (ROOT / first / rest[0]).is_dir():
        return f"{first}.{rest[0]}"
    return module if first == "tasks" else first


def test_no_module_imports_itself_by_a_detour() -> None:
    TopologicalSorter(arrows()).prepare()


def test_rooms_are_on_floors() -> None:
    rooms: dict[str, set[str]] = {}
    for module, others in arrows().items():
        rooms.setdefault(room_of(module), set()).update(room_of(other) for other in others)
    TopologicalSorter({room: others - {room} for room, others in rooms.items()}).prepare()
    above = {room for room in rooms if room.split(".")[0] in ("flows", "benchmarks")}
    assert not {room for room, others in rooms.items() if room not in above and others & above}


def test_no_stage_is_a_library() -> None:
    stages = {f"tasks.{stage}" for stage in STAGES}
    users = {module: others & stages for module, others in arrows().items() if module.split(".")[0] == "tasks"}
    assert not {module: used for module, used in users.items() if used}


def test_tests_mirror_what_they_test() -> None:
    whole = {
        "test_contracts",
        "test_docs",
        "test_families",
        "test_golden",
        "test_hostile",
        "test_points",
        "test_secrets",
        "test_together",
        "test_rounds",
        "test_strangers",
        "test_team",
        "test_tuned_words",
    }  # of the product as a whole
    for path in sources("tests"):
        place = path.relative_to(ROOT / "tests")
        if place.parts[0] != "support" and path.name.startswith("test_"):
            tested = place.with_name(path.name.removeprefix("test_"))
            mirrored = [place for root in ("tasks", ".") for place in (ROOT / root / tested, ROOT / root / tested.with_suffix(""))]
            assert path.stem in whole or any(place.exists() for place in mirrored), f"{place} mirrors no module"
        shared = {name for name in imported(path) if name.startswith("tests.") and not name.startswith("tests.support.")}
        assert not shared, f"{place} imports {shared}; what tests share belongs in tests/support"


@pytest.mark.parametrize(("library", "only"), [("dvc", "tasks.pipeline"), ("mlflow", "tasks.registry")])
def test_one_package_talks_to_each_service(library: str, only: str) -> None:
    users = {room_of(module_of(path)) for path in sources("tasks", "flows") if library in {name.split(".")[0] for name in imported(path)}}
    assert users == {only}


@pytest.mark.parametrize("stage", STAGES)
def test_a_task_module_is_short(stage: str) -> None:
    assert len((ROOT / f"tasks/{stage}.py").read_text(encoding="utf-8").splitlines()) <= 80


def test_beside_the_stages_there_are_settings_and_artifacts() -> None:
    assert {path.stem for path in (ROOT / "tasks").glob("*.py")} == {*STAGES, "settings", "artifacts", "__init__"}


def test_a_module_over_250_lines_is_two_modules() -> None:
    lengths = {path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines()) for path in sources("tasks", "flows")}
    assert lengths
    assert not {name: lines for name, lines in lengths.items() if lines > 250}


def test_a_function_over_40_lines_is_two_functions() -> None:
    """A docstring and the signature do not count: they are there to be read alone."""
    long = {}
    for path in sources("tasks", "flows"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                first = node.body[1 if ast.get_docstring(node) and len(node.body) > 1 else 0]
                if (lines := (node.end_lineno or 0) - first.lineno + 1) > 40:
                    long[f"{path.relative_to(ROOT)}:{node.name}"] = lines
    assert not long


def test_names_say_something() -> None:
    files = sources("tasks", "flows", "tests", "benchmarks")
    places = {*files, *(path.parent for path in files)}
    assert not [path for path in places if path.stem in BANNED or re.match(r"stage_\d+", path.stem)]


def test_the_lock_holds_versions_and_no_address() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert re.search(r"^torch==", lock, flags=re.MULTILINE)
    assert not re.search(r"https?://", lock)
