"""Our features against a plain open_clip loop: `python -m benchmarks.scoring [--json]`. The peer takes the best of several batch sizes."""

import time
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import typer
from PIL import Image

from benchmarks.result import Row, show
from tasks.settings import load_settings
from tasks.similarity.scorer import Scorer, load_scorer


@torch.inference_mode()
def plain_loop(scorer: Scorer, pictures: list[Image.Image], batch_size: int) -> torch.Tensor:
    """Return the features of pictures, computed as in open_clip's README."""
    parts = []
    for start in range(0, len(pictures), batch_size):
        pixels = torch.stack([scorer.preprocess(picture) for picture in pictures[start : start + batch_size]])
        parts.append(F.normalize(scorer.model.encode_image(pixels.to(scorer.device)), dim=-1).cpu())
    return torch.cat(parts)


def main(
    count: Annotated[int, typer.Option(help="pictures in a round")] = 512,
    rounds: Annotated[int, typer.Option(help="the best round of each counts")] = 3,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Measure pictures per second."""
    settings = load_settings()
    scorer = load_scorer(settings.scorer.model, settings.scorer.pretrained, settings.runtime.device)
    pixels = np.random.default_rng(0).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)
    pictures = [Image.fromarray(picture) for picture in pixels]
    ours, theirs = [], []
    for _ in range(rounds):
        started = time.monotonic()
        features = scorer.image_features(pictures)
        ours.append(count / (time.monotonic() - started))
        for batch_size in (16, 64, 256):
            started = time.monotonic()
            peer = plain_loop(scorer, pictures, batch_size)
            theirs.append(count / (time.monotonic() - started))
            torch.testing.assert_close(features, peer, atol=1e-4, rtol=1e-3)
    show("scoring", [Row(f"{count} pictures", max(ours), max(theirs), "pictures/s")], "open_clip", as_json)


if __name__ == "__main__":
    typer.run(main)
