"""Generating pictures with the words of a catalog."""

from collections.abc import Callable, Iterator, Sequence

from PIL import Image

from tasks.diffusion.base_model import load_base_model
from tasks.diffusion.ddim import Watch, generate
from tasks.settings import Settings
from tasks.using.champions import champions, owners_of, words_in
from tasks.using.ranking import agreements, best_first


def imagine_pictures(
    prompt: str, seeds: Sequence[int], settings: Settings, any_base: bool = False, negative: str = "", watch: Watch | None = None
) -> Iterator[Image.Image]:
    """Yield a picture of a prompt for each seed, drawn with the champions of its words.

    negative: what the pictures should not show; guidance leads away from it. watch: is told what the first picture looks like so far.

    Raises:
        ValueError: see `champions`.
    """
    words = words_in(f"{prompt} {negative}")
    owners_of(words, settings)  # an unknown word is an error before the model is loaded
    base = load_base_model(*settings.base_model)
    look = (*settings.sample.look(base.look), settings.runtime.pictures_per_batch)
    with champions(words, base, settings, any_base) as learned:
        yield from generate(base, [prompt] * len(seeds), seeds, learned, *look, negative=negative, watch=watch)


def best_of(
    number: int,
    prompt: str,
    seeds: Sequence[int],
    settings: Settings,
    any_base: bool = False,
    negative: str = "",
    check: Callable[[], object] = lambda: None,
) -> list[tuple[int, Image.Image, dict[str, float]]]:
    """Return the best pictures of a prompt as (seed, picture, its cosines with the text and with the pictures of each word), the best one first.

    number: how many are kept of one picture for each seed, as CLIP ranks them. check: is called after each picture; what it raises ends the drawing.

    Raises:
        ValueError: a word has no pictures to rank by, or see `champions`.
    """
    pictures = []
    for picture in imagine_pictures(prompt, seeds, settings, any_base, negative):
        check()
        pictures.append(picture)
    agreement = agreements(pictures, prompt, owners_of(words_in(prompt), settings), settings)
    return [(seeds[index], pictures[index], agreement[index]) for index in best_first(agreement)[:number]]
