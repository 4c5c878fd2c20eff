"""Choose the usable pictures of a concept and bring them to the base model's resolution."""

import logging
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks import artifacts
from tasks.pictures.reading import Picture, UnusableError, check_file, output_names, picture_files, read_picture
from tasks.pictures.screening import outliers, screen
from tasks.references import read_captions, read_contexts
from tasks.settings import Settings
from tasks.stage import run_stage

log = logging.getLogger(__name__)


@task(task_run_name="curate-{concept}", cache_policy=NO_CACHE)  # DVC decides what is stale
def curate(concept: str, settings: Settings) -> Path:
    """Write the usable pictures of a concept and a manifest of what was kept or dropped and why; return the manifest's path.

    Raises:
        ValueError: there are no pictures, or fewer than `curate.min_images` are usable; each dropped file is named.
    """
    from tasks.diffusion.base_model import base_resolution  # torch takes seconds to import, and listing needs none of it

    folder = artifacts.images(concept)
    files = picture_files(folder) if folder.is_dir() else {}
    if not files:
        raise ValueError(f"concept {concept!r} has no pictures in {folder}; put some there, or fetch them with `dvc pull {folder}.dvc`")
    read_captions(folder)  # the sample stage needs them; a mistake is heard of before a word is trained
    contexts = read_contexts(folder, files)
    resolution = base_resolution(settings.base.model, settings.base.revision)
    digests, pictures, dropped = read_and_screen(files, resolution, settings)
    usable = [name for name in files if name not in dropped]
    log.info("%s: %d of %d pictures are usable", concept, len(usable), len(files))
    if len(usable) < settings.curate.min_images:
        reasons = "; ".join(f"{name}: {dropped[name]}" for name in files if name in dropped)
        raise ValueError(
            f"concept {concept!r} has {len(usable)} usable of {len(files)} pictures, fewer than curate.min_images = {settings.curate.min_images}"
            f" (dropped: {reasons or 'none'}); add pictures to {folder} or relax the rules under curate in params.yaml"
        )
    outputs = output_names(usable)
    records: list[dict[str, Any]] = []
    with artifacts.new_folder(artifacts.curated(concept)) as new:
        for name in files:
            records.append({"source": name, "sha256": digests.get(name), "kept": name not in dropped})
            if name in dropped:
                records[-1] |= {"reason": dropped[name]}
            else:
                records[-1] |= {"file": outputs[name], "transform": pictures[name].record()}
                records[-1] |= {"context": contexts[name]} if name in contexts else {}
                pictures[name].image.save(new / outputs[name])
        artifacts.write_json(new / artifacts.manifest(concept).name, {"concept": concept, "resolution": resolution, "pictures": records})
    return artifacts.manifest(concept)


def read_and_screen(files: dict[str, Path], resolution: int, settings: Settings) -> tuple[dict[str, str], dict[str, Picture], dict[str, str]]:
    """Return by name the digests of all files that may be opened, the pictures that could be read, and the reasons of what is dropped."""
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
    left = [name for name in images if name not in dropped]
    if len(left) >= 3:  # of fewer nothing tells which one is odd, and the scorer need not be loaded
        from tasks.similarity.scorer import load_scorer

        scorer = load_scorer(settings.scorer.model, settings.scorer.pretrained, settings.runtime.device)
        dropped |= outliers(left, scorer.image_features([images[name] for name in left]), rules.min_similarity)
    return digests, pictures, dropped


if __name__ == "__main__":
    run_stage(curate.fn)
