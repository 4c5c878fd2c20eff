"""Results do not change in silence: four stages on tiny models against tests/golden.json, by the editions in dvc.yaml.

`python -m tests.test_golden --write` rewrites the file after a number was raised.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from tasks import artifacts
from tasks.curate import curate
from tasks.invert import invert_one
from tasks.pipeline.graph import edition
from tasks.registry.promotion import SCORES
from tasks.sample import sample
from tasks.score import score
from tasks.settings import Settings
from tasks.words.embedding_file import read_rows
from tests.support.tiny import save_tiny_eye, save_tiny_pipeline, save_tiny_scorer

GOLDEN = Path(__file__).with_name("golden.json")
SHIPPED = Path(__file__).parents[1] / "params.yaml"
STAGES = ("curate", "invert", "sample", "score")
CONCEPT = "golden"


def golden_settings(base_folder: Path, scorer_folder: Path, eye_folder: Path) -> Settings:
    """Adapt the shipped params.yaml: what decides a number is fixed here, so that tuning the shipped values changes nothing."""
    document = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    prompts = {"object": ["a photo of a {}", "an oil painting of a {}", "a photo of a {} on the moon"], "style": ["a {}", "the {}"]}
    fixed: dict[str, dict[str, Any]] = {
        "base": {"model": str(base_folder), "revision": None},
        "scorer": {"model": f"local-dir:{scorer_folder}", "pretrained": None},
        "curate": {"min_images": 3, "min_side": 48, "min_sharpness": 4.0, "near_duplicate_distance": 4, "min_similarity": 0.25},
        # A high rate and a high scale: the random model hardly listens to its text, and a change must show.
        "invert": {
            "method": "textual_inversion",
            "options": {},
            "num_vectors": 2,
            "max_train_steps": 4,
            "batch_size": 2,
            "learning_rate": 5e-2,
            "timesteps": [0.3, 1.0],
            "average_last": 0.5,
            "seed": 0,
        },
        "sample": {
            "num_inference_steps": 3,
            "guidance_scale": 40.0,
            "pictures_per_prompt": 2,
            "reference_pictures": 2,
            "seed": 0,
            "prompts": prompts,
        },
        "score": {"bootstrap_samples": 100, "confidence": 0.9, "seed": 0, "fidelity": {"model": str(eye_folder), "revision": None}},
        "runtime": {"checkpoint_every": 3, "device": "cpu"},
    }
    for section, values in fixed.items():
        document[section] |= values
    document["concepts"] = {CONCEPT: {"kind": "object", "placeholder_token": "<golden>", "initializer_token": "dog"}}
    return Settings.model_validate(document)


def draw_pictures(folder: Path) -> None:
    """Draw four mosaics, a copy of one and a blank, and caption them: the same files on every machine."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in "abcd":
        mosaic = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        mosaic.resize((80, 64), Image.Resampling.NEAREST).save(folder / f"{name}.png")
    (folder / "copy-of-a.png").write_bytes((folder / "a.png").read_bytes())
    Image.new("RGB", (64, 64), "grey").save(folder / "blank.png")
    (folder / "captions.yaml").write_text("short: a cat\nlong: a cat on the beach with an apple\n", encoding="utf-8")


def build(settings: Settings) -> dict[str, Any]:
    """Run the four stages in the current folder and return what they computed, per stage its number and a few values."""
    draw_pictures(artifacts.images(CONCEPT))
    for stage in (curate.fn, invert_one, sample.fn, score.fn):
        stage(CONCEPT, settings)
    pictures = artifacts.read_json(artifacts.manifest(CONCEPT))["pictures"]
    rows = read_rows(artifacts.learned_embeds(CONCEPT))["<golden>"]
    train = artifacts.read_json(artifacts.train_record(CONCEPT))
    scores = artifacts.read_json(artifacts.scores(CONCEPT))
    values: dict[str, Any] = {
        "curate": {
            "kept": {entry["file"]: statistics(artifacts.curated(CONCEPT) / entry["file"]) for entry in pictures if entry["kept"]},
            "dropped": [entry["source"] for entry in pictures if not entry["kept"]],
        },
        "invert": {
            "rows": [[round(value, 5) for value in row[:8].tolist()] for row in rows],
            **{name: train[name] for name in ("norm", "vocabulary_norm_median", "optimizer_steps")},
        },
        "sample": {
            path.relative_to(artifacts.samples(CONCEPT)).as_posix(): statistics(path) for path in sorted(artifacts.samples(CONCEPT).glob("*/*/*.png"))
        },
        "score": {name: scores[name] for name in (*SCORES, "diversity", "copies", "prompts")},
    }
    return {stage: {"version": edition(stage), "values": values[stage]} for stage in STAGES}


def statistics(path: Path) -> list[float]:
    """Return mean red, green and blue of a picture and the deviation of all, in grey levels."""
    pixels = np.asarray(Image.open(path), dtype=float)
    return [round(float(value), 2) for value in (*pixels.mean(axis=(0, 1)), pixels.std())]


def alike(found: Any, recorded: Any) -> bool:
    """Tell whether two results are the same up to what another CPU rounds differently."""
    if isinstance(found, dict) and isinstance(recorded, dict):
        return found.keys() == recorded.keys() and all(alike(found[key], recorded[key]) for key in found)
    if isinstance(found, list) and isinstance(recorded, list):
        return len(found) == len(recorded) and all(map(alike, found, recorded))
    if not isinstance(found, int | float) or not isinstance(recorded, int | float):
        return found == recorded
    return found == pytest.approx(recorded, rel=1e-3, abs=1e-3)


def changed_in_silence(found: dict[str, Any], recorded: dict[str, Any]) -> list[str]:
    """Return the stages whose values changed though neither their own number nor that of a stage before them was raised."""
    for stage in STAGES:
        if found[stage]["version"] > recorded[stage]["version"]:
            return []  # the stages after it read its results, so theirs may change too
        if not alike(found[stage]["values"], recorded[stage]["values"]):
            return [stage]
    return []


def complaint(stages: list[str]) -> str:
    return (
        f"the results of {' and '.join(stages)} changed and the number did not; raise it in dvc.yaml, "
        "then run `python -m tests.test_golden --write` (delete tests/golden.json first if only this test's own inputs changed)"
    )


def test_results_change_only_with_their_number(
    tiny_base_folder: Path, tiny_scorer_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = json.loads(GOLDEN.read_text(encoding="utf-8"))
    monkeypatch.chdir(tmp_path)
    found = build(golden_settings(tiny_base_folder, tiny_scorer_folder, save_tiny_eye(tmp_path / "eye")))
    silent = changed_in_silence(found, recorded)
    assert not silent, complaint(silent)
    numbers = {stage: (found[stage]["version"], recorded[stage]["version"]) for stage in STAGES}
    stale = [stage for stage, (now, then) in numbers.items() if now != then]
    assert not stale, f"tests/golden.json has other numbers of {' and '.join(stale)}; run `python -m tests.test_golden --write`"
    assert alike(found, recorded)


def test_a_silent_change_is_found_and_a_raised_number_excuses_the_stages_after_it() -> None:
    recorded = json.loads(GOLDEN.read_text(encoding="utf-8"))
    for index, stage in enumerate(STAGES):
        found = json.loads(json.dumps(recorded))
        found[stage]["values"]["extra"] = 1.0
        assert changed_in_silence(found, recorded) == [stage]
        if index:
            found[STAGES[index - 1]]["version"] += 1
            assert changed_in_silence(found, recorded) == []
    found = json.loads(json.dumps(recorded))
    found["score"]["values"]["reconstruction"]["value"] += 0.01
    found["score"]["version"] += 1
    assert changed_in_silence(found, recorded) == []
    found["score"]["version"] -= 1
    assert changed_in_silence(found, recorded) == ["score"]


def write() -> None:
    """Rewrite tests/golden.json; refuse where that would hide a silent change."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chdir(folder)
        found = build(golden_settings(save_tiny_pipeline(folder / "base"), save_tiny_scorer(folder / "scorer"), save_tiny_eye(folder / "eye")))
        os.chdir(GOLDEN.parent)
    if GOLDEN.exists() and (silent := changed_in_silence(found, json.loads(GOLDEN.read_text(encoding="utf-8")))):
        sys.exit(f"error: {complaint(silent)}")
    GOLDEN.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", required=True, help="rewrite tests/golden.json")
    parser.parse_args()
    write()
