"""What MLflow's pages say of a concept and of its versions, in Markdown. Texts that people wrote are escaped."""

import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath

from tasks.pictures.names import printable
from tasks.registry.connection import PREFIX
from tasks.registry.promotion import SCORES

NOTE = "mlflow.note.content"  # the tag of a run or a logged model that has its description
OVERVIEW = "overview.jpg"  # the path of the picture among a run's artifacts
LIMIT = 5000  # characters of a description
LONGEST = 120  # characters of a text that are shown; its tag has all of it
END = "*wordmint writes the text above this line again when the scores change. What you write below it stays.*"
BOUNDS = {"prompt_only": "Prompt-Only", "image_only": "Image-Only", "coarse_word": "coarse word"}
MEANING = (
    "A score is a mean cosine with its 95 % interval. *Prompt-Only* is what the prompts reach without the word, *Image-Only* what the training "
    "pictures reach among themselves, *coarse word* what the ordinary word reaches."
)
ALIASES = (
    "`champion` is the version in use, `challenger` waits for a promotion, and `previous` is what a rollback returns to. "
    "Each version's page has its scores, base model, licence and source."
)


def describe_concept(concept: str, tags: Mapping[str, str], run_id: str) -> str:
    """Return the description of a registered model; tags, run_id: of its first version."""
    return "\n\n".join((sentence(tags), usage(concept, tags, f"{PREFIX}{concept}@champion"), ALIASES, overview(run_id)))


def describe_version(concept: str, tags: Mapping[str, str], metrics: Mapping[str, float], model_id: str, run_id: str) -> str:
    """Return the description of a version; tags, metrics: the version's, where metrics are named as `promotion.headline` names them."""
    parts = (sentence(tags), usage(concept, tags, model_id), scores(metrics), MEANING, facts(tags), overview(run_id), END)
    return "\n\n".join(parts)


def describe_run(concept: str, tags: Mapping[str, str], model_id: str, run_id: str) -> str:
    """Return the description of a version's run and of its logged model, whose pages show the present scores by themselves."""
    return "\n\n".join((sentence(tags), usage(concept, tags, model_id), facts(tags), overview(run_id)))


def described_again(before: str | None, now: str) -> str:
    """Return the description that replaces `before`: people's notes stay, and so does a text that is no longer wordmint's."""
    if not before:
        return now
    _, end, notes = before.partition(END)
    return now + notes if end and len(now + notes) <= LIMIT else before


def sentence(tags: Mapping[str, str]) -> str:
    kind = "a style" if tags["kind"] == "style" else "an object"
    start = f"starting from the word “{escaped(tags['initializer_token'])}”"
    return f"{code(tags['placeholder_token'])} is a word for {kind}. A text-to-image model learned it from pictures, {start}."


def usage(concept: str, tags: Mapping[str, str], model: str) -> str:
    """Return three lines of Python that load a model and draw a picture; model: its id, or a name with an alias."""
    prompt = json.dumps(f"a photo of {tags['placeholder_token']}", ensure_ascii=False)
    load, draw = f'word = mlflow.pyfunc.load_model("models:/{model}")', f'open("{concept}.png", "wb").write(word.predict([{prompt}])[0])'
    return "\n".join(("```python", "import mlflow", load, draw, "```"))


def scores(metrics: Mapping[str, float]) -> str:
    """Return a list of the scores that were measured, with their intervals and bounds."""
    lines = []
    for name in (name for name in SCORES if name in metrics):
        ends = [f"{metrics[key]:.3f}" for key in (f"{name}_low", f"{name}_high") if key in metrics]
        bounds = [f"{said} {metrics[key]:.3f}" for bound, said in BOUNDS.items() if (key := f"{name}_{bound}") in metrics]
        lines.append(f"- **{name} {metrics[name]:.3f}**" + (f" [{', '.join(ends)}]" if ends else "") + "".join(f", {bound}" for bound in bounds))
    return "\n".join(lines)


def facts(tags: Mapping[str, str]) -> str:
    """Return a list of what a version may be used for and what it needs."""
    revision = tags.get("base_revision", "None")
    base = escaped(without_folders(tags["base_model"])) + ("" if revision == "None" else f", revision {escaped(revision)}")
    rows = {"base model": f"{base}, weights {code(tags['base_weights_sha256'][:12])}"}
    rows |= {name: escaped(tags.get(name, "")) for name in ("licence", "source", "consent")}
    return "\n".join(f"- **{name}**: {text}" for name, text in rows.items() if text)


def overview(run_id: str) -> str:
    """Return the picture of a run; MLflow serves it beside its pages."""
    return f"![training pictures and samples](get-artifact?path={OVERVIEW}&run_uuid={run_id})"


def without_folders(model: str) -> str:
    """Return the name of a base model; only the last part of a path of this machine, which would name its user."""
    if model.startswith(("/", "~")):
        return PurePosixPath(model).name
    return PureWindowsPath(model).name if re.match(r"[A-Za-z]:|\\\\", model) else model


def code(text: str) -> str:
    """Return text as code in a line."""
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def escaped(text: str) -> str:
    """Return text in one line that Markdown and HTML show as it is, without links, mentions or pictures, and shortened to LONGEST."""
    line = printable(" ".join(text.split()))
    line = line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"
    line = "".join(f"&#{ord(c)};" if c in "&<>@:\"'" else c for c in line)
    return re.sub(r"[\\`*_{}\[\]()+!|~=]|#(?!\d+;)|(?<=www)\.", lambda found: "\\" + found[0], line, flags=re.IGNORECASE)
