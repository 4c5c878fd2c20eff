"""The curate stage on real files: everything that people put into a folder of pictures."""

import hashlib
import os
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from tasks import artifacts
from tasks.curate import curate
from tasks.pictures import reading, screening
from tasks.pictures.names import output_names
from tasks.settings import Settings, load_settings
from tests.support.bad_pictures import write_bad_pictures

RESOLUTION = 64  # px
PARAMS = Path(__file__).parents[1] / "params.yaml"
RULES = {
    "min_images": 3,
    "min_side": 48,
    "min_sharpness": 4.0,
    "max_pixels": 178_000_000,
    "near_duplicate_distance": 4,
    "min_similarity": 0.25,
}


class StubScorer:
    """Looks at colour alone: a picture's feature is its mean RGB, centred on grey."""

    def image_features(self, pictures: list[Image.Image]) -> Tensor:
        means = np.stack([np.asarray(picture, dtype=np.float32).mean(axis=(0, 1)) - 127.5 for picture in pictures])
        return torch.nn.functional.normalize(torch.from_numpy(means), dim=-1)


def patches(seed: int, size: tuple[int, int] = (96, 96), mode: str = "RGB") -> Image.Image:
    """Bluish patches of 8 x 8 in random brightness: sharp, of one hue, and different for every seed."""
    grey = np.random.default_rng(seed).integers(0, 120, (8, 8, 1))
    pixels = np.concatenate([grey, grey, grey + 130], axis=2).astype(np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST).convert(mode)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_bytes(width: int, height: int, depth: int, colour: int, *chunks: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)) + b"".join(chunks)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An image folder with three good pictures, in a catalog whose models are stubs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tasks.diffusion.base_model.base_resolution", lambda model, revision, resolution: RESOLUTION)
    monkeypatch.setattr("tasks.similarity.scorer.load_scorer", lambda model, pretrained, device: StubScorer())
    folder = artifacts.images("teapot")
    folder.mkdir(parents=True)
    for number in (1, 2, 3):
        patches(number).save(folder / f"{number}.png")
    return folder


def settings(**rules: float) -> Settings:
    loaded = load_settings(PARAMS)
    return loaded.model_copy(update={"curate": loaded.curate.model_copy(update=RULES | rules)})


def run(**rules: float) -> dict[str, dict]:
    """Curate and return the manifest's entries by source."""
    manifest = artifacts.read_json(curate.fn("teapot", settings(**rules)))
    return {entry["source"]: entry for entry in manifest["pictures"]}


def curated(entry: dict) -> Image.Image:
    with Image.open(artifacts.curated("teapot") / entry["file"]) as image:
        image.load()
        return image


def middle(image: Image.Image) -> tuple[int, ...]:
    pixel = image.getpixel((image.width // 2, image.height // 2))
    assert isinstance(pixel, tuple)
    return pixel


def write_truncated(path: Path, suffix: str) -> None:
    patches(4, (256, 256)).save(path, suffix)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def write_frames(path: Path, suffix: str) -> None:
    patches(4).save(path, suffix, save_all=True, append_images=[patches(5), patches(6)])


def write_link(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    patches(4).save(target)
    path.symlink_to(target.resolve())


def write_two_pages(path: Path) -> None:
    patches(4).save(path, "TIFF", save_all=True, append_images=[patches(5)])


BAD: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "zero-byte": ("bad.jpg", lambda path: path.touch(), "empty"),
    "truncated jpeg": ("bad.jpg", lambda path: write_truncated(path, "JPEG"), "truncated"),
    "truncated png": ("bad.png", lambda path: write_truncated(path, "PNG"), "truncated"),
    "text": ("bad.jpg", lambda path: path.write_text("not a picture"), "not a picture"),
    "other format": ("notes.pdf", lambda path: path.write_bytes(b"%PDF-1.7\n"), "not a picture"),
    "postscript": ("bad.eps", lambda path: patches(4).save(path, "EPS"), "not a picture"),
    "gif": ("bad.gif", lambda path: write_frames(path, "GIF"), "animated"),
    "apng": ("bad.png", lambda path: write_frames(path, "PNG"), "animated"),
    "webp": ("bad.webp", lambda path: write_frames(path, "WEBP"), "animated"),
    "pages": ("bad.tiff", write_two_pages, "several pages"),
    "one pixel": ("bad.png", lambda path: Image.new("RGB", (1, 1)).save(path), "1 x 1 is smaller than min_side = 48"),
    "small": ("bad.png", lambda path: patches(4, (400, 47)).save(path), "400 x 47 is smaller than min_side = 48"),
    "float": ("bad.tiff", lambda path: Image.new("F", (64, 64)).save(path), "floating-point"),
    "32 bit": ("bad.tiff", lambda path: Image.new("I", (64, 64), 1 << 20).save(path), "outside of 16 bits"),
    "blurred": ("bad.png", lambda path: patches(4).filter(ImageFilter.GaussianBlur(12)).save(path), "blurred"),
    "folder": ("bad", lambda path: path.mkdir(), "a folder"),
    "pipe": ("bad.jpg", os.mkfifo, "not a regular file"),
    "link to elsewhere": ("bad.png", lambda path: write_link(path, path.parents[3] / "elsewhere" / "4.png"), "leads out of the folder"),
    "link up and over": ("bad.png", lambda path: write_link(path, path.parent.parent / "teapot2" / "4.png"), "leads out of the folder"),
    "broken link": ("bad.png", lambda path: path.symlink_to("missing.png"), "leads nowhere"),
    "link to itself": ("bad.png", lambda path: path.symlink_to("bad.png"), "leads nowhere"),
    "exact duplicate": ("bad.png", lambda path: path.write_bytes((path.parent / "1.png").read_bytes()), "the same file as 1.png"),
    "near duplicate": ("bad.jpg", lambda path: patches(2).save(path, quality=80), "near duplicate of 2.png (distance"),
    "outlier": ("bad.png", lambda path: Image.eval(patches(4), lambda value: 255 - value).save(path), "outlier"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_dropped_with_its_reason_and_the_good_ones_stay(folder: Path, kind: str) -> None:
    name, write, reason = BAD[kind]
    # "bad" sorts behind "1", "2" and "3", so that it is the duplicate and not the original
    write(folder / name)
    entries = run()
    assert not entries[name]["kept"]
    assert reason in entries[name]["reason"]
    assert [source for source, entry in entries.items() if entry["kept"]] == ["1.png", "2.png", "3.png"]


def large_header(width: int, height: int) -> bytes:
    return png_bytes(width, height, 8, 2, png_chunk(b"IDAT", b""))


@pytest.mark.parametrize("max_pixels", [178_000_000, 2_000_000_000])
def test_a_huge_picture_is_dropped_unread(folder: Path, max_pixels: int) -> None:
    (folder / "huge.png").write_bytes(large_header(30_000, 30_000))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        entries = run(max_pixels=max_pixels)
    assert "max_pixels" in entries["huge.png"]["reason"]  # and not "truncated", which decoding would give


def test_a_picture_above_max_pixels_is_not_decoded(folder: Path) -> None:
    (folder / "large.png").write_bytes(large_header(2000, 1000))
    entries = run(max_pixels=1_999_999)
    assert entries["large.png"]["reason"] == "2000 x 1000 is more pixels than max_pixels = 1999999"
    assert "truncated" in run(max_pixels=2_000_000)["large.png"]["reason"]


def test_a_picture_between_pillows_warning_and_the_limit_is_read_without_a_warning(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 600 * 600)
    patches(4, (800, 800)).save(folder / "large.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        entries = run()
    assert entries["large.png"]["kept"]


def test_a_real_large_picture_of_one_bit_is_dropped(folder: Path) -> None:
    packer = zlib.compressobj(1)
    row = b"\0" + b"\xaa" * 2500
    data = b"".join(packer.compress(row * 1000) for _ in range(20)) + packer.flush()
    (folder / "large.png").write_bytes(png_bytes(20_000, 20_000, 1, 0, png_chunk(b"IDAT", data), png_chunk(b"IEND", b"")))
    assert "max_pixels" in run()["large.png"]["reason"]


ORIENTED = {
    # where the red corner of the stored picture lies once it is upright: (right, bottom)
    1: (False, False),
    2: (True, False),
    3: (True, True),
    4: (False, True),
    5: (False, False),
    6: (True, False),
    7: (True, True),
    8: (False, True),
}


@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", ORIENTED)
def test_exif_orientation_is_undone_in_every_format(tmp_path: Path, suffix: str, orientation: int) -> None:
    stored = Image.new("RGB", (120, 80), "white")
    stored.paste("red", (0, 0, 60, 40))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{suffix}"
    stored.save(path, exif=exif)
    picture = reading.read_picture(path, RESOLUTION, 1, 10**6)
    right, bottom = ORIENTED[orientation]
    near, far = RESOLUTION // 4, 3 * RESOLUTION // 4
    red, green, blue = np.asarray(picture.image)[far if bottom else near, far if right else near]
    assert red > 200 and green < 60 and blue < 60
    assert picture.transform.exif_orientation == orientation
    assert picture.transform.size == ((80, 120) if orientation > 4 else (120, 80))
    assert picture.transform.crop == ((0, 20, 80, 100) if orientation > 4 else (20, 0, 100, 80))


def test_broken_exif_does_not_cost_the_picture(folder: Path) -> None:
    patches(4).save(folder / "4.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")
    assert run()["4.jpg"]["transform"]["exif_orientation"] == 1


@pytest.mark.parametrize(("mode", "suffix"), [("CMYK", "jpg"), ("P", "png"), ("L", "png"), ("LA", "png"), ("1", "png"), ("CMYK", "tiff")])
def test_every_mode_becomes_rgb(folder: Path, mode: str, suffix: str) -> None:
    colour = patches(4)
    image = colour.quantize(16) if mode == "P" else colour.convert(mode)
    image.save(folder / f"4.{suffix}")
    entry = run(min_similarity=-1)["4." + suffix]
    assert entry["transform"]["mode"] == mode
    assert curated(entry).mode == "RGB"
    if mode in ("CMYK", "P"):
        expected = colour.resize((RESOLUTION, RESOLUTION), Image.Resampling.LANCZOS)
        difference = np.asarray(curated(entry), dtype=float) - np.asarray(expected, dtype=float)
        assert np.abs(difference).mean() < 8


@pytest.mark.parametrize("suffix", ["png", "tiff"])
@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path, suffix: str, dtype: type) -> None:
    if dtype is np.int32 and suffix == "png":
        suffix = "pgm"  # the format that Pillow reads in mode I
    path = tmp_path / f"deep.{suffix}"
    pixels: np.ndarray = np.repeat(np.linspace(0, 65535, 64)[None], 64, axis=0).round().astype(dtype)
    Image.fromarray(pixels).save(path)
    picture = reading.read_picture(path, 64, 1, 10**6)
    assert np.abs(np.asarray(picture.image)[32, :, 0] - np.linspace(0, 255, 64)).max() <= 1
    assert picture.transform.mode in ("I", "I;16")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "I;16"])
def test_transparency_is_laid_on_white(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "glass.png"
    if mode == "P":
        Image.new("P", (64, 64), 0).save(path, transparency=0)
    elif mode == "RGB":
        Image.new("RGB", (64, 64), (9, 8, 7)).save(path, transparency=(9, 8, 7))
    elif mode == "I;16":
        Image.fromarray(np.full((64, 64), 4096, dtype=np.uint16)).save(path, transparency=4096)
    else:
        Image.new("RGBA", (64, 64), (0, 0, 0, 0)).convert(mode).save(path)
    assert middle(reading.read_picture(path, 16, 1, 10**6).image) == (255, 255, 255)


def test_half_transparency_is_mixed_with_white(tmp_path: Path) -> None:
    Image.new("RGBA", (64, 64), (0, 0, 0, 128)).save(tmp_path / "glass.png")
    assert middle(reading.read_picture(tmp_path / "glass.png", 16, 1, 10**6).image) == (127, 127, 127)


def test_profile_and_metadata_do_not_reach_the_curated_picture(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "where I live"
    patches(4).save(folder / "4.jpg", exif=exif, icc_profile=b"profile", dpi=(300, 300), comment=b"mine")
    assert curated(run()["4.jpg"]).info == {}


def test_a_phones_picture_with_previews_is_one_picture(folder: Path) -> None:
    patches(4).save(folder / "4.jpg", "MPO", save_all=True, append_images=[patches(5)])
    assert run()["4.jpg"]["kept"]


def test_a_link_within_the_folder_is_a_duplicate_and_not_a_danger(folder: Path) -> None:
    (folder / "4.png").symlink_to("1.png")
    assert run()["4.png"]["reason"] == "the same file as 1.png"


def test_a_file_that_lies_elsewhere_is_not_even_hashed(folder: Path) -> None:
    write_link(folder / "4.png", folder.parents[2] / "elsewhere.png")
    assert run()["4.png"]["sha256"] is None


def test_the_sharp_copy_of_a_blurred_picture_stays(folder: Path) -> None:
    patches(4).filter(ImageFilter.GaussianBlur(12)).save(folder / "4.png")
    patches(4).save(folder / "5.png")
    entries = run(near_duplicate_distance=16)
    assert (entries["4.png"]["kept"], entries["5.png"]["kept"]) == (False, True)


def test_the_outermost_picture_goes_first_and_two_are_never_outliers() -> None:
    # the mean cosine of every picture is below the limit until the third is gone
    features = torch.nn.functional.normalize(torch.tensor([[1.0, 0.1], [1.0, -0.1], [-1.0, 0.0]]), dim=-1)
    assert list(screening.outliers(["a", "b", "c"], features, 0.5)) == ["c"]
    assert screening.outliers(["a", "b"], torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), 0.9) == {}
    assert screening.outliers([], torch.zeros(0, 2), 0.9) == {}


def test_the_scorer_is_not_loaded_for_two_pictures(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.similarity.scorer.load_scorer", lambda *_: pytest.fail("loaded"))
    (folder / "3.png").unlink()
    assert len(run(min_images=2)) == 2


def test_side_files_are_passed_over_and_a_picture_that_is_called_readme_is_not(folder: Path) -> None:
    for name in ("LICENSE", "LICENSE.md", "README-first.txt", ".gitignore", ".DS_Store", "1.png.dvc"):
        (folder / name).write_text("text")
    patches(4).save(folder / "readme.png")
    assert list(run()) == ["1.png", "2.png", "3.png", "readme.png"]


def test_the_manifest_records_what_was_done(folder: Path) -> None:
    patches(4, (200, 100)).save(folder / "wide.png")
    path = curate.fn("teapot", settings())
    manifest = artifacts.read_json(path)
    assert path == artifacts.manifest("teapot")
    assert (manifest["concept"], manifest["resolution"]) == ("teapot", RESOLUTION)
    assert manifest["pictures"][-1] == {
        "source": "wide.png",
        "sha256": hashlib.sha256((folder / "wide.png").read_bytes()).hexdigest(),
        "kept": True,
        "file": "wide.png",
        "transform": {"mode": "RGB", "exif_orientation": 1, "size": [200, 100], "crop": [50, 0, 150, 100]},
    }
    assert sorted(file.name for file in path.parent.iterdir()) == ["1.png", "2.png", "3.png", "manifest.json", "wide.png"]
    assert {Image.open(file).size for file in path.parent.glob("*.png")} == {(RESOLUTION, RESOLUTION)}


def test_two_runs_give_the_same_bytes(folder: Path) -> None:
    (folder / "bad.jpg").write_text("not a picture")
    curate.fn("teapot", settings())
    first = artifacts.folder_digest(artifacts.curated("teapot"))
    curate.fn("teapot", settings())
    assert artifacts.folder_digest(artifacts.curated("teapot")) == first


def test_among_hundreds_of_bad_files_the_manifest_says_what_became_of_each(folder: Path) -> None:
    paths = write_bad_pictures(folder)
    entries = run()
    assert len(entries) == len(paths) + 3 and all(name.isprintable() for name in entries)
    assert all(entries[f"{number}.png"]["kept"] for number in (1, 2, 3))
    reasons = [entry["reason"] for entry in entries.values() if not entry["kept"]]
    assert len(reasons) > 150 and all(reason.isprintable() for reason in reasons)


def test_output_names_are_safe_and_unique() -> None:
    names = ["a b.jpg", "a?b.png", "A-B.png", "a-b-2.png", "../x.png", "日本.png", "-rf.png", "x" * 300 + ".png"]
    outputs = list(output_names(names).values())
    assert outputs[:7] == ["a-b.png", "a-b-2.png", "A-B-3.png", "a-b-2-2.png", "x.png", "picture.png", "rf.png"]
    assert len({output.lower() for output in outputs}) == len(names)
    assert max(map(len, outputs)) <= 100


@pytest.mark.parametrize("name", [b"line\nbreak.png", b"latin\xe9.png", "tee küche.png".encode()])
def test_any_file_name_fits_the_manifest_and_one_line(folder: Path, name: bytes) -> None:
    try:
        Path(os.fsdecode(os.path.join(os.fsencode(folder), name))).write_bytes((folder / "1.png").read_bytes())
    except OSError:
        pytest.skip("this file system refuses the name")
    assert len(run()) == 4
    with pytest.raises(ValueError, match="same file as 1") as error:
        run(min_images=4)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("make", [lambda folder: None, lambda folder: folder.mkdir(), lambda folder: (folder.mkdir(), (folder / "LICENSE").touch())])
def test_a_missing_or_empty_folder_is_an_error_with_the_remedy(folder: Path, make: Callable[[Path], object]) -> None:
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    make(folder)
    with pytest.raises(ValueError, match=r"put some there, or fetch them with `dvc pull data/images/teapot\.dvc`"):
        run()


def test_too_few_usable_pictures_is_an_error_that_names_files_and_rule(folder: Path) -> None:
    (folder / "2.png").write_text("not a picture")
    (folder / "3.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"'teapot' has 1 usable of 3 .*min_images = 3.*2\.png: not a picture.*3\.png: empty.*params\.yaml"):
        run()


@pytest.mark.parametrize("fault", ["too few", "disk full"])
def test_a_failed_curate_leaves_the_previous_result_as_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    run()
    before = artifacts.folder_digest(artifacts.curated("teapot"))
    patches(4).save(folder / "0.png")
    if fault == "too few":
        for number in (1, 2, 3):
            (folder / f"{number}.png").unlink()
    else:

        def full(path: Path, value: object) -> None:
            raise OSError("no space left on device")

        monkeypatch.setattr(artifacts, "write_json", full)
    with pytest.raises((ValueError, OSError)):
        run()
    assert artifacts.folder_digest(artifacts.curated("teapot")) == before
    assert [path.name for path in artifacts.curated("teapot").parent.iterdir()] == ["teapot"]


def test_the_manifest_says_what_else_a_picture_shows(folder: Path) -> None:
    (folder / "captions.yaml").write_text("context: {2.png: on the grass}", encoding="utf-8")
    assert [entry.get("context") for entry in run().values()] == [None, "on the grass", None]
    (folder / "captions.yaml").write_text("context: {9.png: on the grass}", encoding="utf-8")
    with pytest.raises(ValueError, match=r"context names 9\.png, which is no picture of the set"):
        run()
