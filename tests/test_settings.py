"""params.yaml: what is not valid fails with its exact path."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from tasks.artifacts import check_concept_key
from tasks.pipeline.graph import edition
from tasks.registry.connection import tracking_uri
from tasks.settings import Settings, load_settings

SHIPPED = Path(__file__).parents[1] / "params.yaml"


def edited(tmp_path: Path, place: str, value: Any) -> Path:
    """Write the shipped params.yaml with one value put at a dotted place and return its path."""
    document = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    *parents, last = place.split("/")
    section = document
    for parent in parents:
        section = section[parent]
    section[last] = value
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def concept(placeholder_token: str = "<new>", **others: str) -> dict[str, str]:
    return {"kind": "object", "placeholder_token": placeholder_token, "initializer_token": "cat", **others}


@pytest.mark.parametrize(
    ("place", "value", "path"),
    [
        ("invert/learning_rat", 0.1, "invert.learning_rat"),
        ("concepts/fox/initialiser_token", "dog", "concepts.fox.initialiser_token"),
        ("sample/prompts/objects", ["a {}", "the {}"], "sample.prompts.objects"),
        ("sampling", {}, "sampling"),
    ],
)
def test_an_unknown_key_is_named_by_its_exact_path(tmp_path: Path, place: str, value: Any, path: str) -> None:
    with pytest.raises(ValueError, match=rf"params.yaml: {path}: Extra inputs are not permitted"):
        load_settings(edited(tmp_path, place, value))


def test_every_fault_is_named_at_once(tmp_path: Path) -> None:
    path = edited(tmp_path, "invert/batch_size", 0)
    path.write_text(path.read_text().replace("confidence: 0.95", "confidence: 95"))
    with pytest.raises(ValueError, match=r"params\.yaml") as refused:
        load_settings(path)
    assert "invert.batch_size: " in str(refused.value)
    assert "score.confidence: " in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_key_has_no_default(tmp_path: Path) -> None:
    document = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    del document["invert"]["seed"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(ValueError, match=r"invert\.seed: Field required"):
        load_settings(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("invert/method", "textual", "method 'textual' is unknown; choose one of "),
        ("invert/options", {"weight": 1.0}, "weight"),
        ("concepts/fox/invert", {"method": "regularised"}, "weight"),
        ("concepts/fox/invert", {"steps": 3}, "steps"),
        ("invert/timesteps", [0.7, 0.3], r"timesteps \[0.7, 0.3\] must be a range"),
        ("invert/timesteps", [0.5, 1.5], "less than or equal to 1"),
        ("invert/pick", {"every": 0, "pictures": 2, "num_inference_steps": 9, "guidance_scale": 4, "model": "x", "pretrained": None}, r"pick\.every"),
        ("invert/pick", {"every": 10}, r"pick\.pictures: Field required"),
        ("sample/reference_pictures", 1, r"sample\.reference_pictures"),
        ("concepts/fox/initializer_token", "<nobody>", "initializer_token '<nobody>' of fox is no word of this catalog"),
        ("concepts/fox/initializer_token", "<fox>", "initializer_token '<fox>' of fox leads back to itself"),
        ("concepts/fox/initializer_token", "brown  bear", r"concepts\.fox\.initializer_token"),
        ("concepts/fox/placeholder_token", "<from-pictures>", "placeholder_token '<from-pictures>' belongs to initializer_token and to fox"),
        ("concepts/fox/invert", {"method": "encoder", "options": {"weight": 1.0}}, "encoder starts from pictures, and .* of fox is 'teddy'; set it"),
    ],
)
def test_settings_without_sense_are_named(tmp_path: Path, place: str, value: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        load_settings(edited(tmp_path, place, value))


def test_a_word_starts_from_pictures_where_there_is_an_encoder(tmp_path: Path) -> None:
    path = edited(tmp_path, "concepts/fox/initializer_token", "<from-pictures>")
    assert load_settings(path).origin("fox") is None
    document = yaml.safe_load(path.read_text())
    del document["base"]["encoder"]  # as in a catalog of an older release
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(ValueError, match=r"initializer_token <from-pictures> of fox needs an encoder; name one in base\.encoder"):
        load_settings(path)


def test_a_concept_may_be_inverted_in_its_own_way(tmp_path: Path) -> None:
    own = {"method": "regularised", "options": {"weight": 0.5}, "max_train_steps": 7}
    settings = load_settings(edited(tmp_path, "concepts/fox/invert", own))
    assert settings.inversion("fox").model_dump() == settings.invert.model_dump() | own
    assert settings.inversion("teapot") == settings.invert


@pytest.mark.parametrize("key", ["../x", "a b", "Fox", "f" * 64, "", "-x", "a/b", "fox;ls", "$x", "ä"])
def test_a_key_that_is_no_path_and_no_shell_word_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="must match"):
        check_concept_key(key)
    document = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    document["concepts"][key] = concept()
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(ValueError, match=r"params\.yaml: concepts.*must match"):
        load_settings(tmp_path / "params.yaml")


@pytest.mark.parametrize("key", ["f", "f" * 63, "0", "red-fox_2"])
def test_a_key_of_allowed_characters_is_itself(key: str) -> None:
    assert check_concept_key(key) == key


def test_two_concepts_may_not_share_a_placeholder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="placeholder_token '<fox>' belongs to fox and to vixen"):
        load_settings(edited(tmp_path, "concepts/vixen", concept("<fox>")))


@pytest.mark.parametrize("token", ["fox", "<fox", "<>", "<red fox>", "<<fox>>"])
def test_a_placeholder_stands_in_angle_brackets(tmp_path: Path, token: str) -> None:
    with pytest.raises(ValueError, match=r"concepts\.vixen\.placeholder_token"):
        load_settings(edited(tmp_path, "concepts/vixen", concept(token)))


@pytest.mark.parametrize("prompt", ["a photo of a fox", "a {} beside a {}", "a {0}"])
def test_a_prompt_has_one_place_for_the_word(tmp_path: Path, prompt: str) -> None:
    with pytest.raises(ValueError, match=r"sample\.prompts\.style\.1: .*must contain \{\} once"):
        load_settings(edited(tmp_path, "sample/prompts/style", ["a {}", prompt]))


def test_a_number_that_yaml_reads_as_text_is_still_the_number(tmp_path: Path) -> None:
    # YAML 1.1 wants a dot in a float, so 5e-3 arrives as a string; pydantic reads it as the number that was meant.
    path = tmp_path / "params.yaml"
    path.write_text(re.sub(r"learning_rate: \S+", "learning_rate: 5e-3", SHIPPED.read_text(encoding="utf-8")), encoding="utf-8")
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["invert"]["learning_rate"] == "5e-3"
    assert load_settings(path).invert.learning_rate == 0.005


def test_text_that_is_no_number_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"invert\.learning_rate: .*'fast'"):
        load_settings(edited(tmp_path, "invert/learning_rate", "fast"))


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("invert/learning_rate", float("inf"), r"invert\.learning_rate: .*finite"),
        ("curate/min_sharpness", float("inf"), r"curate\.min_sharpness: .*finite"),
        ("curate/min_sharpness", float("nan"), r"curate\.min_sharpness: .*finite"),
        ("sample/guidance_scale", float("inf"), r"sample\.guidance_scale: .*finite"),
        ("sample/guidance_scale", 1e30, r"sample\.guidance_scale: .*less than or equal to 100"),
        ("invert/seed", 2**70, r"invert\.seed: .*less than 9223372036854775808"),
        ("invert/batch_size", 10**9, r"invert\.batch_size: .*less than or equal to 1000"),
        ("invert/max_train_steps", True, r"invert\.max_train_steps: .*true and false are neither number nor text"),
        ("invert/timesteps", [False, True], r"invert\.timesteps: .*true and false"),
        ("invert/options/rank", True, r"invert\.options\.rank: .*true and false"),
        ("concepts/fox/invert", {"learning_rate": float("inf")}, r"concepts\.fox\.invert\.learning_rate: .*finite"),
        ("invert/method", "..", "method '..' is unknown"),
        ("sample/prompts/style", ["a {}", "a \x1b[31m{}"], "has control characters; write it on one line"),
        ("concepts/fox/placeholder_token", "<f\x1bx>", r"concepts\.fox\.placeholder_token"),
    ],
)
def test_a_number_or_a_text_beyond_all_sense_is_refused_by_its_path(tmp_path: Path, place: str, value: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        load_settings(edited(tmp_path, place, value))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 30_000 + "]" * 30_000,
        "- " * 30_000,
        "seed: " + "1" * 5_000,
        "a: &a [*a]",
        "a: !!bool x",
        "a: !!int ''",
        "a: !!timestamp x",
        "a: 2001-99-99",
        "a: !!python/object/apply:os.system [exit]",
        "\ud800",
        "x: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "\n".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in pairwise("abcdefghijklmnop")),
    ],
    ids=["deep", "deep-block", "long-number", "cycle", "bool", "int", "timestamp", "date", "python", "surrogate", "billion-laughs"],
)
def test_whatever_yaml_can_hold_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "params.yaml").write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(ValueError, match=r"params\.yaml") as refused:
        load_settings(tmp_path / "params.yaml")
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 5_000


def test_an_unknown_concept_is_named_with_the_remedy() -> None:
    with pytest.raises(ValueError, match=r"concept 'unicorn' is not under concepts in params\.yaml; `wordmint add --help` says"):
        load_settings(SHIPPED).concept("unicorn")


def test_prompts_are_those_of_the_concepts_kind() -> None:
    settings = load_settings(SHIPPED)
    assert settings.prompts("fox") == settings.sample.prompts.object
    assert settings.prompts("inkline") == settings.sample.prompts.style


def test_settings_do_not_change() -> None:
    settings = load_settings(SHIPPED)
    with pytest.raises(ValidationError, match="frozen"):
        settings.invert.seed = 1  # type: ignore[misc]


def test_a_folder_without_params_is_no_catalog(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="run wordmint in the root of a catalog"):
        load_settings(tmp_path / "params.yaml")


def test_broken_yaml_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("base: [\n  x: {", encoding="utf-8")
    with pytest.raises(ValueError, match="is not valid YAML") as refused:
        load_settings(tmp_path / "params.yaml")
    assert "\n" not in str(refused.value)


def test_the_environment_overrides_the_tracking_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings: Settings = load_settings(edited(tmp_path, "runtime/tracking_uri", "http://team"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    assert tracking_uri(load_settings(SHIPPED)) == f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    assert tracking_uri(settings) == "http://team"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mine")
    assert tracking_uri(settings) == "http://mine"


def test_an_unknown_stage_has_no_version() -> None:
    assert edition("invert") >= 1
    with pytest.raises(KeyError):
        edition("no-such-stage")
