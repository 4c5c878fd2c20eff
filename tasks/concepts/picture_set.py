"""The pictures of a concept: which can be read, and which are dropped and why."""

from pathlib import Path

from tasks import artifacts
from tasks.pictures.reading import Picture, UnusableError, check_file, read_picture
from tasks.pictures.screening import outliers, screen
from tasks.settings import Settings


def read_and_screen(files: dict[str, Path], resolution: int, settings: Settings) -> tuple[dict[str, str], dict[str, Picture], dict[str, str]]:
    """Return, by name, the digests of all files that may be opened, the pictures that could be read, and the reasons for what is dropped."""
    rules = settings.curate
    digests, pictures, dropped = dict[str, str](), dict[str, Picture](), dict[str, str]()
    for name, path in files.items():
        try:
            check_file(path)
            digests[name] = artifacts.sha256(path)
            pictures[name] = read_picture(path, resolution, rules.min_side, rules.max_pixels)
        except UnusableError as reason:
            dropped[name] = str(reason)
    images = {name: picture.image for name, picture in pictures.items()}
    dropped |= screen(images, digests, rules.min_sharpness, rules.near_duplicate_distance)
    remaining = [name for name in images if name not in dropped]
    if len(remaining) >= 3:  # `outliers` drops none of fewer, so the scorer need not be loaded
        from tasks.similarity.scorer import load_scorer

        scorer = load_scorer(settings.scorer.model, settings.scorer.pretrained, settings.runtime.device)
        dropped |= outliers(remaining, scorer.image_features([images[name] for name in remaining]), rules.min_similarity)
    return digests, pictures, dropped
