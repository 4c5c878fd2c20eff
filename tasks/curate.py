"""Choose the usable pictures of a concept and bring them to the base model's resolution."""

import logging
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks import artifacts
from tasks.concepts.captions import read_captions, read_contexts
from tasks.concepts.picture_set import read_and_screen
from tasks.pictures.names import output_names, picture_files
from tasks.pipeline.door import run_stage
from tasks.settings import Settings

log = logging.getLogger(__name__)


@task(task_run_name="curate-{concept}", cache_policy=NO_CACHE)  # DVC decides what is stale
def curate(concept: str, settings: Settings) -> Path:
    """Write the usable pictures of a concept and a manifest of what was kept or dropped and why; return the manifest's path.

    Raises:
        ValueError: there are no pictures, or fewer than `curate.min_images` are usable; each dropped file is named.
    """
    from tasks.diffusion.base_model import base_resolution  # torch takes seconds to import, and most commands do not need it

    folder = artifacts.images(concept)
    files = picture_files(folder) if folder.is_dir() else {}
    if not files:
        raise ValueError(f"concept {concept!r} has no pictures in {folder}; put some there, or fetch them with `dvc pull {folder}.dvc`")
    read_captions(folder)  # the sample stage needs them; a mistake is reported before a word is trained
    contexts = read_contexts(folder, files)
    resolution = base_resolution(settings.base.model, settings.base.revision, settings.base.resolution)
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
    entries: list[dict[str, Any]] = []
    with artifacts.new_folder(artifacts.curated(concept)) as new:
        for name in files:
            entries.append({"source": name, "sha256": digests.get(name), "kept": name not in dropped})
            if name in dropped:
                entries[-1] |= {"reason": dropped[name]}
            else:
                entries[-1] |= {"file": outputs[name], "transform": pictures[name].entry()}
                entries[-1] |= {"context": contexts[name]} if name in contexts else {}
                pictures[name].image.save(new / outputs[name])
        artifacts.write_json(new / artifacts.manifest(concept).name, {"concept": concept, "resolution": resolution, "pictures": entries})
    return artifacts.manifest(concept)


if __name__ == "__main__":
    run_stage(curate.fn)
