"""What the stages before register leave for a concept, without running them."""

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save_file

from tasks import artifacts
from tasks.register import register
from tasks.registry.registered_model import weights_sha256
from tasks.settings import Settings


def mint(seed: int, reconstruction: float = 0.75, fidelity: float | None = None, pictures: str = "d" * 64, scorer: str = "f" * 64) -> str:
    """Write what the stages before register leave for the concept fox and return the embedding's digest.

    The scores' intervals reach 0.05 to either side.
    """
    base = Path("data/base/tiny")
    path = artifacts.learned_embeds("fox")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"<fox>": torch.randn(1, 32, generator=torch.Generator().manual_seed(seed))}, path, {"format": "pt"})
    bounds = {"image_only": 0.95, "prompt_only": 0.5, "coarse_word": None}
    values = (reconstruction, 0.25, fidelity)
    first, second, third = (value and {"value": value, "low": value - 0.05, "high": value + 0.05, **bounds} for value in values)
    artifacts.write_json(artifacts.manifest("fox"), {"concept": "fox", "resolution": 16, "pictures": []})
    train = {
        "concept": "fox",
        "method": "textual_inversion",
        "optimizer_steps": 3,
        "stopped": "cap",
        "seconds": 0.1,
        "norm": 0.5,
        "vocabulary_norm_median": 0.4,
        "seed": 0,
        "data_sha256": pictures,
        "base": {"model": base.as_posix(), "revision": None, "weights_sha256": weights_sha256(base)},
        "settings": {"num_vectors": 1, "learning_rate": 5.0e-3},
    }
    artifacts.write_json(artifacts.train_record("fox"), train)
    scores = {
        "concept": "fox",
        "embedding_digest": artifacts.sha256(path),
        "scorer": {
            "model": "tiny",
            "weights_sha256": scorer,
            "fidelity": third and {"model": "eye", "weights_sha256": scorer},
            "prompt_suite": "object",
        },
        "reconstruction": first,
        "editability": second,
        "fidelity": third,
        "prompts": [],
    }
    artifacts.write_json(artifacts.scores("fox"), scores)
    sampling = {"num_inference_steps": 2, "guidance_scale": 4.0, "seeds": [0, 1]}
    prompts = [{"prompt": "a photo of a {}", "slug": "a-photo-of-a"}]
    artifacts.write_json(artifacts.samples_record("fox"), {"base": train["base"], **sampling, "prompts": prompts})
    picture = artifacts.samples("fox") / "word" / "a-photo-of-a" / "000000.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), (seed, 0, 0)).save(picture)
    return artifacts.sha256(path)


def record(settings: Settings) -> dict[str, Any]:
    return artifacts.read_json(register.fn("fox", settings))
