"""The life of a version after it is published, against a real MLflow."""

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import mlflow
import pytest
from typer.testing import CliRunner

from flows.cli.main import app
from tasks import artifacts
from tasks.pipeline import repository
from tasks.registry import lifecycle, publishing, reading, writing
from tasks.registry.connection import tracking_uri
from tasks.settings import Settings
from tasks.shipped import shipped
from tasks.versions.pruning import delete, leftovers
from tests.support.minted import mint, record

FIRST = {"champion": 1}


def by(policy: str, settings: Settings) -> Settings:
    return settings.model_copy(update={"register": settings.register.model_copy(update={"promote": policy})})


def published(settings: Settings, *reconstructions: float, **last: str) -> None:
    """Register a version per reconstruction; `last` goes to the last one's `mint`."""
    for seed, reconstruction in enumerate(reconstructions):
        mint(seed, reconstruction, **(last if seed == len(reconstructions) - 1 else {}))
        record(settings)


def told(concept: str = "fox") -> list[tuple[str, int | None, str | None]]:
    return [(line["event"], line["version"], line.get("verdict")) for line in reading.events(concept)]


@pytest.mark.parametrize(
    ("policy", "reconstruction", "verdict", "aliases"),
    [
        ("by_hand", 0.9, "better", {"champion": 1, "challenger": 2}),
        ("when_better", 0.9, "better", {"champion": 2, "previous": 1}),
        ("when_better", 0.5, "worse", {"champion": 1, "challenger": 2}),
        ("when_better", 0.76, "no_better", {"champion": 1, "challenger": 2}),
    ],
)
def test_a_build_moves_the_champion_only_where_the_policy_says_so(
    settings: Settings, policy: str, reconstruction: float, verdict: str, aliases: dict[str, int]
) -> None:
    published(by(policy, settings), 0.75, reconstruction)
    assert reading.aliases("fox") == aliases
    tags = reading.tags("fox", 2)
    assert (tags["decision"], tags["decision_against"]) == (verdict, "1")
    assert json.loads(tags["decision_numbers"])["reconstruction"]["challenger"] == reconstruction
    assert ("decision", 2, verdict) in told()


def test_registering_again_decides_nothing_twice(settings: Settings) -> None:
    published(settings, 0.75, 0.5)
    before = reading.events("fox")
    assert record(settings)["aliases"] == ["challenger"]
    assert reading.events("fox") == before


def test_promote_moves_three_aliases_and_writes_why(settings: Settings) -> None:
    published(settings, 0.75, 0.9)
    version, decision = lifecycle.promote("fox")
    assert (version, decision.verdict) == (2, "better")
    assert reading.aliases("fox") == {"champion": 2, "previous": 1}
    assert told()[-2:] == [("decision", 2, "better"), ("promote", 2, None)]
    with pytest.raises(ValueError, match="has no challenger"):
        lifecycle.promote("fox")
    with pytest.raises(ValueError, match="fox v2 is the champion already"):
        lifecycle.promote("fox", 2)
    with pytest.raises(ValueError, match="has no version 7; it has 1, 2"):
        lifecycle.promote("fox", 7)


def test_a_refused_promotion_changes_no_alias_and_is_on_record(settings: Settings) -> None:
    published(settings, 0.75, 0.5)
    decision = lifecycle.promote("fox", accept="I like it")[1]
    assert (decision.verdict, decision.promote) == ("worse", False)
    assert reading.aliases("fox") == {"champion": 1, "challenger": 2}
    assert told()[-1] == ("decision", 2, "worse")


def test_other_pictures_wait_for_a_person_under_either_policy(settings: Settings) -> None:
    published(by("when_better", settings), 0.75, 0.9, pictures="e" * 64)
    assert reading.aliases("fox") == {"champion": 1, "challenger": 2}
    assert not lifecycle.promote("fox")[1].promote
    assert lifecycle.promote("fox", accept="the fox has a new coat")[1].promote
    assert reading.tags("fox", 2)["decision_reason"] == "the fox has a new coat"
    assert reading.aliases("fox") == {"champion": 2, "previous": 1}


def test_another_scorer_waits_for_rescoring(settings: Settings) -> None:
    published(by("when_better", settings), 0.75, 0.9, scorer="e" * 64)
    assert reading.tags("fox", 2)["decision"] == "rescore"
    assert reading.aliases("fox") == {"champion": 1, "challenger": 2}
    tags = {key: value for key, value in reading.tags("fox", 2).items() if not key.startswith("decision")} | {"reconstruction_high": "0.8"}
    sheets = Path("sheets")
    sheets.mkdir()
    publishing.rescored("fox", 1, tags | {"digest": reading.tags("fox", 1)["digest"]}, {"reconstruction": 0.75}, sheets)
    assert lifecycle.settle("fox", 2, by("when_better", settings).register) == {"aliases": ["champion"]}


def test_half_written_scores_are_no_evidence(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The champion is scored again and the power goes after each tag: what an alias reaches never mixes two judges."""
    published(settings, 0.75, 0.9)
    client = mlflow.MlflowClient
    real, left = client.set_model_version_tag, 0

    def set_or_die(*arguments: object) -> None:
        nonlocal left
        if not left:
            raise RuntimeError("the power went")
        left -= 1
        real(*arguments)  # type: ignore[arg-type]

    mint(0, 0.5, scorer="e" * 64)
    for writes in (1, 2, 2, 2, 2):  # a run empties the last tag first; then each gets one of the four that changed written
        left = writes
        with monkeypatch.context() as patch:
            patch.setattr(client, "set_model_version_tag", set_or_die)
            with pytest.raises(RuntimeError, match="the power went"):
                record(settings)
        assert reading.tags("fox", 1)["prompt_suite"] == ""
        assert lifecycle.weigh("fox", 2, reading.tags("fox", 2), 1).verdict == "rescore"
    record(settings)
    tags = reading.tags("fox", 1)
    assert (tags["prompt_suite"], tags["reconstruction"], tags["scorer_weights_sha256"]) == ("object", "0.5", "e" * 64)


def test_rollback_swaps_and_a_build_does_not_overrule_it(settings: Settings) -> None:
    settings = by("when_better", settings)
    published(settings, 0.75, 0.9)
    assert lifecycle.rollback("fox", "customers complained") == (1, 2)
    assert reading.aliases("fox") == {"champion": 1, "previous": 2}
    assert reading.events("fox")[-1]["reason"] == "customers complained"
    assert record(settings)["aliases"] == ["previous"]
    assert reading.aliases("fox") == {"champion": 1, "previous": 2}
    assert lifecycle.rollback("fox") == (2, 1)
    assert reading.aliases("fox") == {"champion": 2, "previous": 1}


def test_history_keeps_its_order_when_the_clock_goes_back(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    published(settings, 0.75)
    earlier = [datetime(2001, 2, 3, tzinfo=UTC), datetime(2001, 2, 3, tzinfo=UTC), datetime(2000, 1, 1, tzinfo=UTC)]
    clock = type("Clock", (datetime,), {"now": lambda zone: earlier.pop(0)})
    monkeypatch.setattr(writing, "datetime", clock)
    before = reading.events("fox")
    for number in range(3):
        writing.add_event(reading.entry("fox"), event="told", version=1, reason=str(number))
    after = reading.events("fox")
    assert after[: len(before)] == before and [line["reason"] for line in after[len(before) :]] == ["0", "1", "2"]
    assert after[-1]["at"].startswith("2000-01-01")


def test_nothing_to_roll_back_to_is_an_error(settings: Settings) -> None:
    published(settings, 0.75)
    with pytest.raises(ValueError, match="no previous champion"):
        lifecycle.rollback("fox")
    with pytest.raises(ValueError, match="has no versions"):
        lifecycle.rollback("owl")


@pytest.mark.parametrize("step", ["add_event", "set_alias", "drop_alias"])
@pytest.mark.parametrize("calls", [0, 1])
def test_an_interrupted_promotion_leaves_a_champion_and_completes(settings: Settings, monkeypatch: pytest.MonkeyPatch, step: str, calls: int) -> None:
    published(settings, 0.75, 0.9)
    real, left = getattr(writing, step), calls

    def die(*arguments: object, **named: object) -> None:
        nonlocal left
        if not left:
            raise RuntimeError("the power went")
        left -= 1
        real(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(writing, step, die)
        if (step, calls) == ("drop_alias", 1):
            lifecycle.promote("fox")  # there is only one to drop
        else:
            with pytest.raises(RuntimeError, match="the power went"):
                lifecycle.promote("fox")
    held = reading.aliases("fox")
    assert held["champion"] in (1, 2)
    assert held["champion"] == 1 or held["previous"] == 1
    try:
        lifecycle.promote("fox")
    except ValueError as error:
        assert held["champion"] == 2, error
    assert reading.aliases("fox") == {"champion": 2, "previous": 1}


def test_revoking_takes_everything_and_reinstating_gives_it_back(settings: Settings) -> None:
    published(settings, 0.75, 0.9)
    lifecycle.promote("fox")
    held = reading.aliases("fox")
    assert lifecycle.revoke("fox", "the mascot's licence ended") == held
    assert reading.aliases("fox") == {} and reading.catalog() == []
    assert [reading.tags("fox", version)["revoked"] for version in (1, 2)] == ["the mascot's licence ended"] * 2
    assert reading.revoked(["fox"]) == {"fox": "the mascot's licence ended"}
    for refused in (
        lambda: record(settings),
        lambda: lifecycle.promote("fox", 1),
        lambda: lifecycle.rollback("fox"),
        lambda: reading.published("fox"),
        lambda: reading.published("fox", "v1"),
    ):
        with pytest.raises(ValueError, match=r"was revoked on .*: the mascot's licence ended; `wordmint reinstate fox`"):
            refused()
    assert reading.aliases("fox") == {}
    lifecycle.revoke("fox", "and the trademark")  # a second reason loses no alias
    assert lifecycle.reinstate("fox", "renewed") == held
    assert reading.aliases("fox") == held and reading.revoked(["fox"]) == {}
    assert "revoked" not in reading.tags("fox", 1)
    assert [event for event, _, _ in told()][-3:] == ["revoke", "revoke", "reinstate"]
    with pytest.raises(ValueError, match="is not revoked"):
        lifecycle.reinstate("fox")


@pytest.mark.parametrize("step", ["drop_alias", "set_tags"])
def test_an_interrupted_revocation_gives_nothing_back_and_completes(settings: Settings, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    published(settings, 0.75, 0.9)
    held = reading.aliases("fox")

    def die(*_: object) -> None:
        raise RuntimeError("the power went")

    with monkeypatch.context() as patch:
        patch.setattr(writing, step, die)
        with pytest.raises(RuntimeError, match="the power went"):
            lifecycle.revoke("fox", "no licence")
    with pytest.raises(ValueError, match="was revoked"):
        record(settings)
    assert lifecycle.revoke("fox", "no licence") == held
    assert reading.aliases("fox") == {}
    assert lifecycle.reinstate("fox") == held


def test_history_tells_everything(settings: Settings) -> None:
    published(settings, 0.75, 0.9)
    lifecycle.promote("fox")
    found = lifecycle.history("fox")
    assert [(row["version"], row["aliases"], row["decision"]) for row in found["versions"]] == [
        (1, ["previous"], "first"),
        (2, ["champion"], "better"),
    ]
    assert found["versions"][1]["reconstruction"] == {"value": 0.9, "low": 0.9 - 0.05, "high": 0.9 + 0.05}
    assert told() == [("decision", 1, "first"), ("decision", 2, "better"), ("decision", 2, "better"), ("promote", 2, None)]
    assert [line["at"] for line in found["events"]] == sorted(line["at"] for line in found["events"])


def test_versions_from_before_the_gate_are_shown_and_not_compared(settings: Settings) -> None:
    published(settings, 0.75)
    old = ("reconstruction_low", "editability_high", "prompt_suite", "sampling", "pictures_sha256", "decision")
    writing.set_tags("fox", 1, dict.fromkeys(old))
    mint(1, 0.99)
    record(by("when_better", settings))
    assert reading.tags("fox", 2)["decision"] == "rescore"
    row = lifecycle.history("fox")["versions"][0]
    assert (row["decision"], row["reconstruction"]) == (None, {"value": 0.75, "low": None, "high": 0.75 + 0.05})
    json.dumps(lifecycle.history("fox"), allow_nan=False)


def test_prune_lists_and_deletes_only_what_nothing_needs(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    published(settings, 0.75, 0.5)
    mint(7, 0.9)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="the power went"):
        patch.setattr(publishing, "verify", lambda *_: (_ for _ in ()).throw(RuntimeError("the power went")))
        record(settings)
    kept = {path for path in Path("mlruns/artifacts").rglob("*") if path.is_file()}
    owner, stranger = artifacts.checkpoints() / f"fox-{'0' * 16}.pt", artifacts.checkpoints() / f"unicorn-{'0' * 16}.pt"
    half = artifacts.samples("fox").with_name(".fox.123.tmp")
    (half / "word").mkdir(parents=True)
    drafts = {Path(".dvc.lock.123.tmp"), artifacts.images(".fox.yaml.123.tmp"), artifacts.checkpoints() / ".checkpoints.123.moves"}
    tuned, torn = stranger.with_suffix(".lora.pt"), stranger.with_name(f".{owner.name}.123.tmp")
    for path in (owner, stranger, tuned, torn, half / "word" / "1.png", *drafts):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"something")
    assert leftovers(settings, 60) == []  # all of it may still be under way
    found = leftovers(settings, 0)
    assert {path for leftover in found for path in leftover.paths} == {half, torn, tuned, stranger, *drafts}
    assert [leftover.orphan["name"] for leftover in found[-1:]] == ["concept.fox"]
    assert half.exists() and stranger.exists()
    delete(found)
    assert not any(path.exists() for path in (half, torn, tuned, stranger, *drafts)) and owner.exists()
    left = {path for path in Path("mlruns/artifacts").rglob("*") if path.is_file()}
    assert left < kept and len(list(Path("mlruns/artifacts").rglob("learned_embeds.safetensors"))) == 2
    assert leftovers(settings, 0) == []
    for version in (1, 2):
        assert reading.fetch("fox", version)[0].exists()
        assert len(reading.training("fox", version, Path(f"sheets-{version}").absolute())[2]) == 1
    assert record(settings)["version"] == 3


def test_what_was_touched_lately_is_not_idle(settings: Settings) -> None:
    half = artifacts.samples("fox").with_name(".fox.123.tmp")
    half.mkdir(parents=True)
    os.utime(half, (time.time() - 7200,) * 2)
    assert [leftover.paths for leftover in leftovers(settings, 60)] == [[half]]
    (half / "1.png").write_bytes(b"something")
    os.utime(half, (time.time() - 7200,) * 2)
    assert leftovers(settings, 60) == []


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output


def test_the_commands_say_what_happened(settings: Settings) -> None:
    Path("params.yaml").write_text(json.dumps(settings.model_dump(mode="json")), encoding="utf-8")
    Path("dvc.yaml").write_bytes(shipped("dvc.yaml").read_bytes())
    repository.new_repo(Path())
    published(settings, 0.75, 0.5)
    code, output = invoke("promote", "fox")
    assert code == 1 and "error: fox v2 is not promoted: v2 is worse than champion v1" in output and output.count("\n") == 1
    code, output = invoke("promote", "fox", "--json")
    assert code == 1 and json.loads(output[: output.rindex("}") + 1])["verdict"] == "worse"
    code, output = invoke("diff", "fox", "1", "2", "--out", "page.html", "--json")
    assert code == 0 and json.loads(output)["scores"]["reconstruction"][1]["value"] == 0.5
    page = Path("page.html").read_text(encoding="utf-8")
    assert page.count('<img src="data:image/webp;base64,') == 2 and "0.500 (0.450 to 0.550)" in page and "://" not in page
    assert invoke("diff", "fox", "1", "2")[0] == 0 and Path("fox-v1-v2.html").exists()
    code, output = invoke("history", "fox", "--json")
    assert code == 0 and [row["version"] for row in json.loads(output)["versions"]] == [1, 2]
    assert "decision v2 against v1  worse" in invoke("history", "fox")[1]
    assert invoke("rollback", "fox")[0] == 1
    assert "nothing to prune" in invoke("prune")[1]
    assert invoke("revoke", "fox")[0] == 2  # typer wants --why
    code, output = invoke("history", "unicorn")
    assert code == 1 and "concept 'unicorn' has no versions" in output
    code, output = invoke("history", "it's")
    assert code == 1 and "must match" in output


def test_an_empty_catalog_has_nothing_to_promote(tmp_path: Path, settings: Settings) -> None:
    Path("params.yaml").write_text(json.dumps(settings.model_dump(mode="json")), encoding="utf-8")
    Path(tracking_uri(settings).removeprefix("sqlite:///")).unlink()
    code, output = invoke("promote", "fox")
    assert code == 1 and "nothing was registered yet" in output
    assert not Path("mlruns/mlflow.db").exists()


def test_a_first_version_below_the_floor_is_no_champion_before_a_person_accepts_it(settings: Settings) -> None:
    published(settings, 0.5)  # prompts without the word reach 0.5
    assert reading.aliases("fox") == {"challenger": 1}
    held_back = artifacts.read_json(artifacts.registered("fox"))["held_back"]
    assert held_back.startswith("reconstruction 0.500 (from 0.450) is not clearly above the 0.500 of prompts without the word")
    with pytest.raises(ValueError, match=r"has no champion, because v1 is held back: reconstruction 0\.500"):
        reading.published("fox")
    with pytest.raises(ValueError, match="no previous champion"):
        lifecycle.rollback("fox")
    assert not lifecycle.promote("fox")[1].promote
    assert lifecycle.promote("fox", accept="the best that we have")[1].promote
    assert reading.aliases("fox") == FIRST


def test_a_better_second_version_replaces_one_that_was_held_back(settings: Settings) -> None:
    published(settings, 0.5, 0.9)
    assert reading.aliases("fox") == {"champion": 2}
    assert "held_back" not in artifacts.read_json(artifacts.registered("fox"))


def test_a_catalog_may_have_no_floor(settings: Settings) -> None:
    rules = settings.register.model_copy(update={"floor": False})
    published(settings.model_copy(update={"register": rules}), 0.5)
    assert reading.aliases("fox") == FIRST


def test_a_word_that_wins_clip_by_losing_its_shape_stays_challenger(settings: Settings) -> None:
    settings = by("when_better", settings)
    for seed, (reconstruction, fidelity) in enumerate(((0.75, 0.7), (0.9, 0.6), (0.9, 0.7))):
        mint(seed, reconstruction, fidelity)
        record(settings)
    assert reading.aliases("fox") == {"champion": 3, "previous": 1}
    assert [verdict for event, _, verdict in told() if event == "decision"] == ["first", "worse", "better"]
    assert "fidelity 0.600 is below the champion's 0.650 to 0.750" in reading.tags("fox", 2)["decision_reason"]
    assert [(row["alias"], row["fidelity"]) for row in reading.catalog()] == [("previous", 0.7), ("champion", 0.7)]
