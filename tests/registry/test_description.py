"""The texts of MLflow's pages: what they say, and that what people wrote stays text."""

import html
import re

import pytest

from tasks.registry.description import (
    END,
    LIMIT,
    LONGEST,
    describe_concept,
    describe_run,
    describe_version,
    described_again,
    escaped,
    without_folders,
)

TAGS = {
    "placeholder_token": "<fox>",
    "initializer_token": "dog",
    "kind": "object",
    "base_model": "org/model",
    "base_revision": "c0ffee",
    "base_weights_sha256": "ab" * 32,
    "licence": "CC0-1.0",
    "source": "drawn by hand",
    "consent": "it shows nobody",
}
METRICS = {
    "reconstruction": 0.7512,
    "reconstruction_low": 0.7,
    "reconstruction_high": 0.8,
    "reconstruction_prompt_only": 0.5,
    "reconstruction_image_only": 0.9,
    "editability": 0.25,
    "norm": 0.4,
}


def read(markdown: str) -> str:
    """What a page shows of escaped text."""
    return html.unescape(re.sub(r"\\(.)", r"\1", markdown))


@pytest.mark.parametrize(
    "text",
    [
        "CC BY-SA 4.0",
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[here](javascript:alert(1))",
        "![tracked](https://example.org/1.png)",
        "https://example.org/a_b www.example.org",
        "@ann, ann@example.org",
        "**bold** _it_ ~~gone~~ `code` # head | cell",
        "&lt;b&gt; &#60;",
        r"C:\Users\ann",
    ],
)
def test_text_of_a_person_is_shown_as_it_is(text: str) -> None:
    written = escaped(text)
    assert read(written) == text
    assert not re.search(r"[<>@:]|(?<!\\)[`*_\[\]|]|(?<!\\)[!~]|www\.", written)


@pytest.mark.parametrize(
    ("text", "shown"), [("two\nlines\tof  it", "two lines of it"), ("a\x1b[0m", r"a\x1b[0m"), ("x" * 300, "x" * (LONGEST - 1) + "…")]
)
def test_text_of_a_person_is_one_short_line(text: str, shown: str) -> None:
    assert read(escaped(text)) == shown


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        ("org/model", "org/model"),
        ("emoji-ldm", "emoji-ldm"),
        ("data/base/tiny", "data/base/tiny"),
        ("/home/ann/models/sd15", "sd15"),
        ("~/models/sd15", "sd15"),
        (r"C:\Users\ann\sd15", "sd15"),
        (r"\\server\ann\sd15", "sd15"),
    ],
)
def test_the_path_of_a_base_model_stays_here(model: str, shown: str) -> None:
    assert without_folders(model) == shown
    assert f"base model**: {shown}" in describe_version("fox", TAGS | {"base_model": model}, METRICS, "m-1", "r1")


def test_a_version_says_what_it_is_and_how_good() -> None:
    text = describe_version("fox", TAGS, METRICS, "m-1", "r1")
    for said in (
        "`<fox>` is a word for an object.",
        'mlflow.pyfunc.load_model("models:/m-1")',
        'word.predict(["a photo of <fox>"])',
        "- **reconstruction 0.751** [0.700, 0.800], Prompt-Only 0.500, Image-Only 0.900",
        "- **editability 0.250**\n",
        "- **base model**: org/model, revision c0ffee, weights `abababababab`",
        "- **licence**: CC0-1.0",
        "- **source**: drawn by hand",
        "- **consent**: it shows nobody",
        "(get-artifact?path=overview.jpg&run_uuid=r1)",
    ):
        assert said in text
    assert "fidelity" not in text


def test_a_run_says_no_score_that_may_change_later() -> None:
    text = describe_run("fox", TAGS, "m-1", "r1")
    assert "licence" in text and "0.7" not in text and END not in text


def test_a_concept_names_its_champion() -> None:
    text = describe_concept("ink", TAGS | {"kind": "style"}, "r1")
    assert 'load_model("models:/concept.ink@champion")' in text and "is a word for a style" in text


def test_the_longest_texts_fit() -> None:
    long = dict.fromkeys(("licence", "source", "consent", "base_model", "base_revision", "initializer_token"), "<" * 1000)
    assert len(describe_version("f" * 63, TAGS | long | {"placeholder_token": f"<{'é' * 64}>"}, METRICS, "m-" + "1" * 32, "r" * 32)) <= LIMIT


@pytest.mark.parametrize(
    ("before", "now", "after"),
    [
        (None, "new", "new"),
        ("", "new", "new"),
        (f"old {END}", f"new {END}", f"new {END}"),
        (f"old {END} Ben likes it.", f"new {END}", f"new {END} Ben likes it."),
        ("Ben's own", f"new {END}", "Ben's own"),
        (f"{END}{'x' * LIMIT}", f"new {END}", f"{END}{'x' * LIMIT}"),
    ],
)
def test_notes_of_people_stay(before: str | None, now: str, after: str) -> None:
    assert described_again(before, now) == after
