from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml
from PIL import Image

from tasks import artifacts
from tasks.drawing import plots
from tasks.drawing.curve import SMOOTHED, loss_plot, smoothed
from tasks.drawing.page import portable
from tasks.inversion.curves import TRAINING
from tasks.page import page as draw_page
from tasks.report import report
from tasks.settings import Settings, load_settings

HOSTILE = 'a <script>alert(1)</script> & "photo" of a {}'
OTHERS = {"coarse_word": 0.5, "human_short": 0.6, "human_long": None}
PARAMS = Path(__file__).parents[1] / "params.yaml"


class Page(HTMLParser):
    """What a browser would load, follow, show as a drawn concept, and run."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.described: list[str] = []
        self.ids: set[str] = set()
        self.tags: list[str] = []
        self.images_without_alt = 0
        self.circles: list[tuple[float, float]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "poster", "data")]
        self.ids.add(found.get("id") or "")
        self.described += [found.get("aria-label") or ""] if tag == "svg" else []
        self.images_without_alt += tag == "img" and "alt" not in found
        if tag == "circle" and found.get("r") == "4":
            self.circles.append((float(found["cx"] or 0), float(found["cy"] or 0)))

    def handle_data(self, data: str) -> None:
        self.text += data


def score(key: str, value: float, prompts: list[str]) -> dict[str, object]:
    return {
        "concept": key,
        "embedding_digest": "ab" * 32,
        "scorer": {"model": "local-dir:/home/somebody/clip", "weights_sha256": "cd" * 32, "prompt_suite": "ef" * 32},
        "reconstruction": {"value": value, "low": value - 0.02, "high": value + 0.03, "image_only": 0.9, "prompt_only": 0.4, **OTHERS},
        "editability": {"value": 0.25, "low": 0.24, "high": 0.27, "image_only": 0.1, "prompt_only": 0.35},
        "prompts": [{"prompt": prompt, "editability": 0.25, "reconstruction": value} for prompt in prompts],
    }


def draw_pictures(folder: Path, count: int, side: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        Image.new("RGB", (side, side), (seed * 9, 80, 120)).save(folder / f"{seed:06d}.png")


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A catalog in which fox has everything, teapot has no pictures and owl is not built."""
    monkeypatch.chdir(tmp_path)
    params = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    params["base"] = {"model": "/home/somebody/model", "revision": None}
    params["concepts"] = {key: {"kind": "object", "placeholder_token": f"<{key}>", "initializer_token": "dog"} for key in ("fox", "teapot", "owl")}
    Path("params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    base = {"model": "/home/somebody/model", "revision": None, "weights_sha256": "12" * 32}
    train = {"method": "textual_inversion", "optimizer_steps": 500, "stopped": "cap", "seconds": 41.2, "norm": 0.5, "vocabulary_norm_median": 0.4}
    prompts = {"a photo of a {}": "a-photo-of-a", HOSTILE: "ä-script"}
    suite = [{"prompt": prompt, "slug": slug} for prompt, slug in prompts.items()]
    record = {
        "embedding_digest": "ab" * 32,
        "base": base,
        "num_inference_steps": 50,
        "guidance_scale": 4.0,
        "seeds": list(range(6)),
        "prompts": suite,
    }
    for key in ("fox", "teapot"):
        artifacts.write_json(artifacts.train_record(key), train | {"concept": key, "seed": 0, "base": base, "settings": {}})
        artifacts.write_json(artifacts.samples_record(key), record | {"concept": key})
        artifacts.write_json(artifacts.registered(key), {"name": f"concept.{key}", "version": 3, "digest": "ab" * 32, "aliases": ["champion"]})
    for slug in prompts.values():
        draw_pictures(artifacts.samples("fox") / "word" / slug, 6, 64)
        draw_pictures(artifacts.samples("fox") / "prompt_only" / slug, 6, 512)
    draw_pictures(artifacts.samples("fox") / "coarse_word" / "a-photo-of-a", 6, 64)
    draw_pictures(artifacts.curated("fox"), 5, 64)
    artifacts.write_json(artifacts.scores("fox"), score("fox", 0.7, list(prompts)))
    artifacts.write_json(artifacts.scores("teapot"), score("teapot", 0.5, list(prompts)))
    return load_settings()


def write_report(settings: Settings) -> Path:
    """Write the pages of the concepts that have scores, and the index, and return its path."""
    for key in settings.concepts:
        if artifacts.scores(key).exists():
            draw_page(key, settings)
    return report(settings)


def index_of(settings: Settings) -> Page:
    return Page(write_report(settings).read_text(encoding="utf-8"))


def page_of(key: str, settings: Settings) -> Page:
    return Page(draw_page(key, settings).read_text(encoding="utf-8"))


def words(page: Page) -> str:
    return " ".join(page.text.split())


def test_the_report_needs_nothing_outside_its_folder(catalog: Settings) -> None:
    index, shown = write_report(catalog), set()
    assert index == artifacts.REPORT / "index.html"
    for path in (index, *map(artifacts.page, ("fox", "teapot"))):
        path = path if path.is_file() else path / "index.html"
        html = path.read_text(encoding="utf-8")
        page = Page(html)
        files = {path.parent / unquote(reference) for reference in page.references if not reference.startswith("#")}
        assert all(file.resolve().is_relative_to(artifacts.REPORT.resolve()) and file.exists() for file in files)
        assert {reference[1:] for reference in page.references if reference.startswith("#")} <= page.ids
        assert not any(reference.startswith(("/", "http", "file")) for reference in page.references)
        assert "url(" not in html and "@import" not in html and "/home/somebody" not in html
        assert page.images_without_alt == 0
        shown |= {file.resolve() for file in files}
    assert {path.resolve() for path in artifacts.REPORT.rglob("*.webp")} <= shown


def test_other_words_stand_beside_a_score_as_far_as_they_were_measured(catalog: Settings) -> None:
    draw_pictures(artifacts.samples("fox") / "human_short" / "a-photo-of-a", 4, 64)
    text = words(page_of("fox", catalog))
    assert text.count("; coarse word 0.500, short caption 0.600") == 1  # reconstruction; editability has none of them
    assert "long caption" not in text
    assert text.index("short caption:") > text.index("coarse word:") and text.count("short caption:") == 1


def test_fidelity_stands_beside_the_other_scores_where_it_was_measured(catalog: Settings) -> None:
    assert "fidelity" not in index_of(catalog).text and "fidelity" not in page_of("fox", catalog).text
    scores = artifacts.read_json(artifacts.scores("fox"))
    scores["fidelity"] = {"value": 0.613, "low": 0.6, "high": 0.62, "image_only": 0.9, "prompt_only": 0.1, "edited": 0.5}
    scores |= {"diversity": {"value": 0.2, "training": 0.3}, "copies": 0.25, "prompts": [row | {"fidelity": 0.613} for row in scores["prompts"]]}
    scores["scorer"]["fidelity"] = {"model": "/home/somebody/eye", "weights_sha256": "ef" * 32}
    artifacts.write_json(artifacts.scores("fox"), scores)
    text = words(page_of("fox", catalog))
    assert text.count("fidelity 0.613") == 3  # beside its bar, and of both prompts
    assert "0.200, 0.300" in text and "25 %" in text
    index = write_report(catalog).read_text(encoding="utf-8")
    assert "0.613" in index and "eye @ efefefef" in index and "/home/somebody" not in index


def test_a_version_that_is_held_back_says_why(catalog: Settings) -> None:
    record = artifacts.read_json(artifacts.registered("fox"))
    artifacts.write_json(artifacts.registered("fox"), record | {"aliases": ["challenger"], "held_back": "reconstruction 0.2 is too low"})
    assert "Held back and no champion: reconstruction 0.2 is too low" in page_of("fox", catalog).text


def test_what_users_write_is_escaped(catalog: Settings) -> None:
    page = page_of("fox", catalog)
    assert "script" not in page.tags
    assert HOSTILE.format("<fox>") in page.text


def test_the_same_inputs_give_the_same_bytes(catalog: Settings) -> None:
    def contents() -> dict[Path, bytes]:
        write_report(catalog)
        return {path: path.read_bytes() for path in artifacts.REPORT.rglob("*") if path.is_file()}

    assert contents() == contents()


def test_every_concept_that_is_built_has_a_row_and_a_page(catalog: Settings) -> None:
    page = index_of(catalog)
    assert {f"concepts/{key}/index.html" for key in ("fox", "teapot")} == {path for path in page.references if path.endswith(".html")}
    assert "owl" in page.text.split("Not built yet")[1]


def test_a_concept_that_left_the_catalog_leaves_the_index(catalog: Settings) -> None:
    write_report(catalog)
    del catalog.concepts["teapot"]
    assert "teapot" not in Page(report(catalog).read_text(encoding="utf-8")).text


def test_a_catalog_without_scores_says_what_to_run(catalog: Settings) -> None:
    for key in ("fox", "teapot"):
        artifacts.scores(key).unlink()
    assert "wordmint build" in index_of(catalog).text


def test_pictures_that_prompts_share_are_written_once(catalog: Settings) -> None:
    draw_page("fox", catalog)
    before = len(list(artifacts.REPORT.rglob("*.webp")))
    draw_pictures(artifacts.samples("fox") / "word_alone" / "a-photo-of-a", 6, 64)  # the same as the word's
    draw_page("fox", catalog)
    assert len(list(artifacts.REPORT.rglob("*.webp"))) == before


def test_pairs_of_present_words_are_a_triangle(catalog: Settings) -> None:
    def pair(one: str, other: str, digest: str) -> None:
        record = {"concepts": [one, other], "prompt": HOSTILE.format(f"<{one}>"), "shares": {"one": 1.0, "other": 0.5, "both": 0.4375}}
        artifacts.write_json(artifacts.composition_record(one, other), record | {"made_of": {"embedding_digests": ["ab" * 32, digest]}})
        draw_pictures(artifacts.composition(one, other), 6, 64)

    pair("fox", "teapot", "ab" * 32)
    page = index_of(catalog)
    assert {"compositions", "pair-fox-teapot"} <= page.ids and "44 %" in page.text
    assert "#pair-fox-teapot" in page.references and page.tags.count("script") == 1  # the index's own
    pair("fox", "teapot", "cd" * 32)  # of a word that has been learned anew since
    pair("fox", "owl", "ab" * 32)  # which is no longer in the catalog
    assert "compositions" not in index_of(catalog).ids


def test_sprites_keep_small_pictures_and_shrink_large_ones(catalog: Settings) -> None:
    draw_page("fox", catalog)
    widths = {Image.open(path).size for path in artifacts.REPORT.rglob("*.webp")}
    assert widths == {(4 * 66, 2 * 66), (4 * 264, 2 * 264)}


def test_points_lie_where_the_axes_say(catalog: Settings) -> None:
    axis = plots.Axis(0.0, 0.5, 400, 0)
    assert [axis.at(value) for value in (0.0, 0.125, 0.5)] == [400, 300, 0]
    assert plots.Axis(0.38, 0.91, 0, 1).ticks(5) == [0.4, 0.6, 0.8]
    page = index_of(catalog)
    wide, narrow = plots.Axis(0.4 - 0.03, 0.9 + 0.03, 44, 1048), plots.Axis(0.4 - 0.03, 0.9 + 0.03, 44, 342)
    assert [x for x, _ in page.circles] == [axis.at(value) for axis in (wide, narrow) for value in (0.7, 0.5)]
    heights = plots.Axis(0.1 - 0.015, 0.35 + 0.015, 516, 30)
    assert [y for _, y in page.circles[:2]] == [heights.at(0.25)] * 2


def test_bounds_of_a_bullet_that_coincide_stay_readable() -> None:
    score = dict.fromkeys(("value", "low", "high", "image_only", "prompt_only", "coarse_word"), 0.5)
    left, right = plots.bullet(score, plots.Axis(0, 1, 0, 340)).bounds
    assert right.text_x - left.text_x >= 104 and right.text_x <= 340 - 52


def write_training(key: str, steps: int, looks: int = 0) -> None:
    """Write a training.csv whose loss falls by 0.002 a step from 1, with a look at the fixed batch every so many steps."""
    rows = [f"{step},{1 - step / 500:g},0.4,{0.5 - step / 1000 if looks and step % looks == 0 else ''},,," for step in range(1, steps + 1)]
    text = "\n".join(["step,loss,norm,fixed_batch_loss,reconstruction,editability,score", *rows])
    artifacts.write_bytes(artifacts.embeddings(key) / TRAINING, f"{text}\n".encode())


def test_a_page_draws_the_loss_of_its_training_where_there_is_one(catalog: Settings) -> None:
    write_training("fox", 100, looks=10)
    write_training("teapot", 0)  # as for an imported word
    fox, teapot = page_of("fox", catalog), page_of("teapot", catalog)
    assert "Loss over 100 optimizer steps" in words(fox) and "Dashed: the loss on the fixed batch, which ends at 0.4." in words(fox)
    assert fox.described[-1] == "Loss from 0.993 to 0.805, on the fixed batch from 0.49 to 0.4"
    assert "Loss over" not in teapot.text and fox.tags.count("svg") == teapot.tags.count("svg") + 1
    (artifacts.embeddings("fox") / TRAINING).unlink()  # as in an earlier build
    assert "Loss over" not in page_of("fox", catalog).text


def test_a_page_leaves_the_curves_that_dvc_draws(catalog: Settings) -> None:
    write_training("fox", 400, looks=50)
    draw_page("fox", catalog)
    folder = artifacts.CURVES / "fox"
    assert sorted(path.name for path in folder.iterdir()) == ["fixed_batch_loss.csv", "loss.csv", "norm.csv"]
    assert (folder / "loss.csv").read_text().splitlines()[:3] == ["step,loss", "2,0.997", "4,0.993"]
    assert (folder / "fixed_batch_loss.csv").read_text().splitlines()[:2] == ["step,fixed_batch_loss", "50,0.45"]
    (artifacts.embeddings("fox") / TRAINING).unlink()
    draw_page("fox", catalog)
    assert list(folder.iterdir()) == []


def test_the_drawn_loss_is_a_running_mean_of_each_phase() -> None:
    curve = [(step, float(step % 2)) for step in range(1, 10 * SMOOTHED + 1)]
    smooth = smoothed(curve)
    assert [step for step, _ in smooth] == [step for step, _ in curve]
    assert smooth[50][1] == pytest.approx(5 / 11) and smooth[0][1] == pytest.approx(0.5)
    assert smoothed(curve[:5]) == curve[:5]  # too few to smooth
    flat = [(step, 0.2 if step <= 60 else 0.4) for step in range(1, 101)]
    drawn = loss_plot({"loss": flat}, {"optimizer_steps": 60, "picked": {"step": 20}})
    assert drawn and drawn.loss.count("M") == 2 and drawn.fixed == ""
    assert {line.split()[1] for line in drawn.loss.replace("M", "L").split("L")[1:]} == {str(drawn.y.at(0.2)), str(drawn.y.at(0.4))}
    assert [(guide.name, guide.x) for guide in drawn.guides] == [("published", drawn.x.at(20)), ("tuning", drawn.x.at(60))]
    assert loss_plot({"loss": flat[:1]}, {"optimizer_steps": 60}) is None


def test_model_names_are_portable() -> None:
    names = {"data/base/emoji-ldm": "data/base/emoji-ldm", "/srv/sd15": "sd15", "local-dir:/srv/clip": "clip", "ViT-B-32": "ViT-B-32"}
    assert {model: portable(model) for model in names} == names
