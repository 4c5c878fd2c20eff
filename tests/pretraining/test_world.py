import numpy as np
import pytest
from PIL import Image

from tasks.pretraining.media import MEDIA, SIZE
from tasks.pretraining.nouns import ALL_NOUNS, ALL_THINGS
from tasks.pretraining.scenes import SCENES, paint_scene
from tasks.pretraining.sprites import PORTRAIT_SIZE, crossed, painted, portrait
from tasks.pretraining.world import (
    BIASED,
    LAYOUTS,
    THING_COLOURS,
    UNNAMED,
    Sample,
    World,
    compose,
    draw_sample,
    plural,
    repainted,
    things,
    things_of,
    with_article,
)

CAR, HOUSE, APPLE = (ALL_NOUNS.index(noun) for noun in ("car", "house", "apple"))
WHITE = Image.new("RGB", (SIZE, SIZE), "white")


def square(colour: str) -> Image.Image:
    return Image.new("RGBA", (SIZE, SIZE), colour)


def centre(picture: Image.Image, channel: int) -> tuple[float, float]:
    """Mean column and row, as shares, of what is much stronger in one channel than in the others."""
    pixels = np.asarray(picture, dtype=float)
    rows, columns = np.nonzero(pixels[..., channel] - np.delete(pixels, channel, axis=2).max(axis=2) > 100)
    return columns.mean() / SIZE, rows.mean() / SIZE


@pytest.mark.parametrize(
    ("nouns", "colours", "layout", "said"),
    [
        ((CAR,), ("red",), "one", "a red car"),
        ((APPLE,), (None,), "one", "an apple"),
        ((APPLE,), ("blue",), "three", "three blue apples"),
        ((APPLE,), (None,), "corner", "a small apple in the corner"),
        ((CAR, HOUSE), ("orange", None), "front", "an orange car in front of a house"),
    ],
)
def test_things_are_named_as_a_person_would(nouns: tuple[int, ...], colours: tuple[str | None, ...], layout: str, said: str) -> None:
    assert things(nouns, colours, layout) == said


def test_plural() -> None:
    assert [plural(noun) for noun in ("apple", "bus", "axe", "candy", "monkey", "torch")] == [
        "apples",
        "buses",
        "axes",
        "candies",
        "monkeys",
        "torches",
    ]


def test_the_first_thing_stands_where_the_caption_says() -> None:
    rng, two = np.random.default_rng(0), [square("red"), square("blue")]
    above = compose(rng, WHITE, two, "photo", "above")
    assert centre(above, 0)[1] < 0.4 < 0.6 < centre(above, 2)[1]
    beside = compose(rng, WHITE, two, "photo", "beside")
    assert centre(beside, 0)[0] < 0.4 < 0.6 < centre(beside, 2)[0]
    front = compose(rng, WHITE, two, "photo", "front")
    row, column = (round(share * SIZE) for share in reversed(LAYOUTS["front"].positions[0][:2]))
    assert front.getpixel((column, row)) == (255, 0, 0)


def test_sizes_differ() -> None:
    rng = np.random.default_rng(0)
    areas = {layout: np.mean(np.asarray(compose(rng, WHITE, [square("red")], "photo", layout))[..., 1] < 128) for layout in ("small", "one", "big")}
    assert areas["small"] * 2 < areas["one"] < areas["big"] / 1.3


@pytest.mark.parametrize("colour", THING_COLOURS)
def test_a_painted_thing_keeps_its_shape_and_its_shades(colour: str) -> None:
    sprite = Image.new("RGBA", (4, 1))
    for column, gray in enumerate((0, 90, 255)):
        sprite.putpixel((column, 0), (gray, gray, gray, 255))
    result = np.asarray(painted(sprite, colour), dtype=int)
    assert result[0, :, 3].tolist() == [255, 255, 255, 0]
    assert (np.diff(result[0, :3, :3].sum(axis=1)) > 0).all()


@pytest.mark.parametrize("medium", MEDIA)
@pytest.mark.parametrize("scene", ["plain", "night"])
def test_every_medium_renders_every_layout(medium: str, scene: str) -> None:
    rng = np.random.default_rng(0)
    for layout in LAYOUTS.values():
        name = next(key for key, value in LAYOUTS.items() if value is layout)
        picture = compose(rng, paint_scene(scene, rng, SIZE), [square("red")] * len(layout.positions), medium, name)
        assert (picture.mode, picture.size) == ("RGB", (SIZE, SIZE))


def test_captions_say_what_is_drawn() -> None:
    rng = np.random.default_rng(0)
    samples = [draw_sample(rng, range(len(ALL_NOUNS))) for _ in range(3000)]
    assert {sample.medium for sample in samples} == set(MEDIA)
    assert {sample.scene for sample in samples} == set(SCENES)
    for sample in samples:
        assert sample.caption.endswith(SCENES[sample.scene][0])
        assert len(sample.nouns) == len(sample.colours) == LAYOUTS[sample.layout].phrase.count("{}")
    plain = [
        sample
        for sample in samples
        if sample.caption.startswith(MEDIA["photo"].words) and not set(sample.nouns) & {ALL_NOUNS.index(n) for n in BIASED}
    ]
    named = [sample for sample in plain if things_of(sample).removeprefix("a picture of ") in sample.caption]
    assert len(named) > 0.7 * len(plain)  # the others are the paper's templates and pictures without a noun


def test_a_bias_is_drawn_and_not_said() -> None:
    rng, (noun, share) = np.random.default_rng(0), next(iter(BIASED.items()))
    samples = [draw_sample(rng, [ALL_NOUNS.index(noun)], ["one"]) for _ in range(4000)]
    silent = [sample for sample in samples if not any(colour in sample.caption for colour in THING_COLOURS)]
    other = np.mean([sample.colours[0] is not None for sample in silent])
    assert share - 0.04 < other < share + 0.04


def test_a_painted_thing_is_told_from_itself_in_other_colours() -> None:
    dog, car = ALL_NOUNS.index("dog"), ALL_NOUNS.index("car")
    own, *others = repainted(Sample((dog, car), (None, "red"), "front", "plain", "photo", "whatever"))
    assert own == "a picture of a dog in front of a red car"
    assert others == [own.replace("a red", with_article(colour)) for colour in sorted(THING_COLOURS) if colour != "red"]
    assert repainted(Sample((dog,), (None,), "one", "plain", "photo", "a dog")) == []


def test_a_crossed_thing_has_something_of_both() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        pixels = np.asarray(crossed(rng, square("red"), square("blue")), dtype=int)
        shares = [np.mean(pixels[..., channel] > 200) for channel in (0, 2)]
        assert min(shares) > 0.05 and sum(shares) > 0.99


def test_a_portrait_shows_the_thing_alone_on_grey() -> None:
    sprite = Image.new("RGBA", (SIZE, SIZE))
    sprite.paste(square("red").resize((32, 32)), (16, 16))
    pixels = np.asarray(portrait(sprite))
    assert pixels.shape == (PORTRAIT_SIZE, PORTRAIT_SIZE, 3)
    assert pixels[0, 0].tolist() == [127, 127, 127] and pixels[16, 16].tolist() == [255, 0, 0]


@pytest.fixture
def world() -> World:
    """A world in which each artist draws everything as a square of one colour, and one of them has no cars."""
    world = World.__new__(World)
    world.sprites = {art: [square(colour)] * len(ALL_THINGS) for art, colour in (("fluent", "red"), ("noto", "lime"), ("twemoji", "blue"))}
    world.sprites["noto"] = [Image.new("RGBA", (SIZE, SIZE)) if index == CAR else sprite for index, sprite in enumerate(world.sprites["noto"])]
    world.scenes = {scene: [WHITE] for scene in SCENES}
    return world


def test_an_unnamed_thing_is_told_by_its_portrait_alone(world: World) -> None:
    pictures, captions, portraits = world.unnamed_batch(np.random.default_rng(0), 300, [CAR, APPLE])
    assert pictures.shape == (300, SIZE, SIZE, 3) and portraits.shape == (300, PORTRAIT_SIZE, PORTRAIT_SIZE, 3)
    assert all(caption.count(UNNAMED) == 1 and f"an {UNNAMED}" not in caption for caption in captions)
    pairs = [caption for caption in captions if "apple" in caption or "car " in caption]
    assert 0 < len(pairs) < 100  # of a pair the second thing keeps its name
    assert len({tuple(portrait[16, 16]) for portrait in portraits}) > 10  # redrawn, crossed, and of every artist
