"""Drawings that a person asks for: which pictures, of what, and with which settings. The commands and the app carry out the same orders."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field, ValidationError, model_validator

from tasks import artifacts
from tasks.inversion.section import SEEDS, Section, faults
from tasks.settings import Sample, Settings

if TYPE_CHECKING:  # Pillow and torch take seconds to import, and a command whose order another process carries out needs neither
    from PIL import Image

    from tasks.diffusion.ddim import Watch

MOST = 10_000  # pictures of an order

Text = Annotated[str, Field(max_length=20_000)]


class Order(Section):
    """A drawing that is asked for."""

    kind: Literal["imagine", "edit", "reimagine"] = "imagine"
    prompt: Text = Field(min_length=1)
    negative: Text = ""
    """What the pictures should not show."""
    number: int = Field(default=4, ge=1, le=MOST)
    """The pictures to keep."""
    candidates: int | None = Field(default=None, ge=1, le=MOST)
    """Pictures to draw, of which CLIP keeps the best; None draws `number`."""
    seed: int = Field(default=0, ge=0, lt=SEEDS)
    """The seed of the first picture; the next pictures count on."""
    num_inference_steps: int | None = None
    """None is `sample.num_inference_steps`."""
    guidance_scale: float | None = None
    """None is `sample.guidance_scale`."""
    concept: str | None = None
    """The concept shown by the picture that is imagined again."""
    guidance_scales: tuple[Annotated[float, Field(ge=1, le=100)], ...] = (1, 2, 4)
    """A guidance scale for each picture that is imagined again; low ones keep the structure."""
    any_base: bool = False
    """Whether words of another base model are used."""

    @model_validator(mode="after")
    def enough_candidates(self) -> "Order":
        if self.candidates is not None and self.candidates < self.number:
            raise ValueError(f"{self.number} pictures cannot be kept of {self.candidates} candidates; raise --candidates or lower --keep")
        if self.kind == "reimagine" and not self.concept:
            raise ValueError("reimagine needs a concept; name the concept of the picture")
        return self

    @property
    def seeds(self) -> list[int]:
        return list(range(self.seed, self.seed + (self.candidates or self.number)))


def order_of(**asked: Any) -> Order:
    """Return an order; raise a ValueError of one line for a field that breaks its rule."""
    try:
        return Order(**asked)
    except ValidationError as error:
        raise ValueError(faults(error)) from error


class Drawn(NamedTuple):
    """A picture that was drawn."""

    name: str
    """The name of its file."""
    picture: "Image.Image"
    facts: dict[str, float]
    """Its seed, and what was measured of it, by name."""
    words: Mapping[str, int] = {}
    """New word of the order -> the version of it that was drawn with."""


def carry_out(
    order: Order,
    settings: Settings,
    picture: Path | None = None,
    mask: Path | None = None,
    watch: "Watch | None" = None,
    check: Callable[[], object] = lambda: None,
) -> Iterator[Drawn]:
    """Yield the pictures of an order as they are drawn; candidates come when all of them are ranked.

    picture: what is edited or imagined again. mask: as large as the picture, white where it is edited. watch: is told what the first imagined
    picture looks like so far. check: is called after each candidate; what it raises ends the drawing.

    Raises:
        ValueError: a setting is outside of its range, a picture is missing or not usable, or see `champions`.
    """
    look = {name: value for name in ("num_inference_steps", "guidance_scale") if (value := getattr(order, name)) is not None}
    try:
        settings = settings.model_copy(update={"sample": Sample.model_validate(settings.sample.model_dump() | look)})
    except ValidationError as error:
        raise ValueError(faults(error)) from error
    needed = {"imagine": {}, "reimagine": {"picture": picture}, "edit": {"picture": picture, "mask": mask}}[order.kind]
    if lacking := [name for name, path in needed.items() if path is None]:
        raise ValueError(f"{order.kind} needs a picture{' and a mask' if order.kind == 'edit' else ''}; the {lacking[0]} is missing")
    from tasks.using.champions import DRAWN_WITH

    for drawn in imagine(order, settings, watch, check) if order.kind == "imagine" else KINDS[order.kind](order, settings, *needed.values()):
        yield drawn._replace(words=DRAWN_WITH.get())


def imagine(order: Order, settings: Settings, watch: "Watch | None", check: Callable[[], object]) -> Iterator[Drawn]:
    from tasks.using.imagine import best_of, imagine_pictures

    if order.candidates:
        best = best_of(order.number, order.prompt, order.seeds, settings, order.any_base, order.negative, check)
        yield from (Drawn(f"{seed:06d}.png", picture, {"seed": seed, **cosines}) for seed, picture, cosines in best)
        return
    yield from numbered(order, imagine_pictures(order.prompt, order.seeds, settings, order.any_base, order.negative, watch))


def edit(order: Order, settings: Settings, picture: Path, mask: Path) -> Iterator[Drawn]:
    from tasks.using.edit import edit_picture

    yield from numbered(order, edit_picture(picture, mask, order.prompt, order.seeds, settings, order.any_base, order.negative))


def numbered(order: Order, pictures: "Iterator[Image.Image]") -> Iterator[Drawn]:
    """Yield pictures under the names of their seeds."""
    for seed, drawn in zip(order.seeds, pictures, strict=True):
        yield Drawn(f"{seed:06d}.png", drawn, {"seed": seed})


def reimagine(order: Order, settings: Settings, picture: Path) -> Iterator[Drawn]:
    from tasks.using.edit import reimagine_picture

    assert order.concept
    again = reimagine_picture(picture, order.concept, order.prompt, order.guidance_scales, settings, order.any_base)
    yield Drawn("reconstruction.png", again.reconstruction, {"psnr": again.psnr, "autoencoder_psnr": again.autoencoder_psnr})
    for scale, image in zip(order.guidance_scales, again.pictures, strict=True):
        yield Drawn(f"guidance-{scale:g}.png", image, {})


KINDS: dict[str, Callable[..., Iterator[Drawn]]] = {"edit": edit, "reimagine": reimagine}
"""What is done to a picture."""


def keep(drawn: Drawn, order: Order, folder: Path, settings: Settings) -> Path:
    """Write a picture into a folder, with the prompt, the versions of its words, the model and the seed as PNG text, and return its path."""
    from io import BytesIO

    from PIL.PngImagePlugin import PngInfo

    text, data = PngInfo(), BytesIO()
    seed = {"seed": str(drawn.facts["seed"])} if "seed" in drawn.facts else {}
    words = ", ".join(f"{word} v{version}" for word, version in drawn.words.items())
    for name, value in {"prompt": order.prompt, "negative": order.negative, "words": words, "model": settings.base.model, **seed}.items():
        if value:
            text.add_text(name, value)
    drawn.picture.save(data, "PNG", pnginfo=text)
    artifacts.write_bytes(folder / drawn.name, data.getvalue())
    return folder / drawn.name


def folder_of(prompt: str) -> str:
    """Return the name of the folder for a prompt's pictures, made from the prompt."""
    return artifacts.prompt_slug(prompt) or "pictures"
