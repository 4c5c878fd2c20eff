"""Pictures of prompts without a new word, which concepts share."""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from tasks import artifacts
from tasks.diffusion.base_model import BaseModel
from tasks.drawing.pictures import pictures_of, save_pictures
from tasks.pipeline.graph import edition
from tasks.settings import Settings


def reference_pictures(
    base: BaseModel, prompts: Sequence[str], seeds: Sequence[int], settings: Settings, drawn: Callable[[], object]
) -> dict[str, Path]:
    """Return the folder of each prompt's pictures without a new word; concepts share them, so they are generated once and kept.

    drawn: is called after each prompt that is generated; what it raises ends the drawing.
    """
    look, folders = settings.sample.look(base.look), {}
    for prompt in prompts:
        key = [prompt, base.identity, list(seeds), *look, edition("sample"), base.device.type]
        key += [base.weights] if base.weights != "full" else []
        folders[prompt] = artifacts.references() / hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    missing = [prompt for prompt, folder in folders.items() if not folder.exists()]
    if not missing:
        return folders
    with closing(pictures_of(base, missing, seeds, {}, settings)) as batches:
        for prompt, pictures in zip(missing, batches, strict=True):
            info = {"prompt": prompt, "model": base.identity["model"], "base_weights_sha256": base.identity["weights_sha256"]}
            if not folders[prompt].exists():  # else another worker was faster
                with artifacts.new_folder(folders[prompt]) as new:
                    save_pictures(new, pictures, seeds, info)
            drawn()
    return folders
