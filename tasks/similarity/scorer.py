"""The CLIP that judges, with its identity."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from tasks.diffusion.base_model import weights_sha256
from tasks.diffusion.devices import pick_device
from tasks.diffusion.loading import loaded_once
from tasks.shipped import EMBEDDED, folder_of


@dataclass(frozen=True)
class Scorer:
    """A CLIP in evaluation mode."""

    model: Any
    preprocess: Any
    tokenizer: Any
    device: str
    identity: dict[str, str]
    """model (name and tag) and weights_sha256."""

    @torch.inference_mode()
    def image_features(self, pictures: Sequence[Image.Image], batch_size: int | None = None) -> Tensor:
        """Return L2-normalised features on the CPU: (pictures, dim)."""
        batch_size = batch_size or (16 if self.device == "cpu" else 64)  # 64 do not fit a CPU's cache, which is a quarter slower
        parts = []
        for start in range(0, len(pictures), batch_size):
            pixels = torch.stack([self.preprocess(picture.convert("RGB")) for picture in pictures[start : start + batch_size]])
            parts.append(F.normalize(self.model.encode_image(pixels.to(self.device)).float(), dim=-1).cpu())
        return torch.cat(parts)

    @torch.inference_mode()
    def text_features(self, texts: Sequence[str]) -> Tensor:
        """Return L2-normalised features on the CPU: (texts, dim)."""
        return F.normalize(self.model.encode_text(self.tokenizer(list(texts)).to(self.device)).float(), dim=-1).cpu()


@loaded_once
def load_scorer(model: str, pretrained: str | None, device: str) -> Scorer:
    """Load any open_clip model by name and tag, or from `local-dir:FOLDER`, or an embedded model by its name.

    Raises:
        ValueError: open_clip knows no such name, tag or folder, or a folder's weights are not those that `pretrained` names.
    """
    device, tag, weights = pick_device(device), pretrained, None
    source = model
    if (model.startswith("local-dir:") or model in EMBEDDED) and (folder := folder_of(model.removeprefix("local-dir:"))):
        source = f"local-dir:{folder}"
        tag, weights = None, weights_sha256(folder)
        if pretrained and not weights.startswith(pretrained):
            raise ValueError(
                f"the scorer's `pretrained` is {pretrained}, but the weights in {folder} are {weights[:12]}; restore the folder or change params.yaml"
            )
    try:
        clip, _, preprocess = open_clip.create_model_and_transforms(source, pretrained=tag, device=device)
        tokenizer = open_clip.get_tokenizer(source)
    except (RuntimeError, FileNotFoundError) as error:
        raise ValueError(f"the scorer {model!r} with pretrained {pretrained!r} does not load ({error}); see open_clip.list_pretrained()") from error
    clip.eval().requires_grad_(False)
    return Scorer(clip, preprocess, tokenizer, device, {"model": f"{model}/{tag}" if tag else model, "weights_sha256": weights or state_sha256(clip)})


def state_sha256(model: torch.nn.Module) -> str:
    """Return one SHA-256 over a model's parameters and buffers, for weights that came from a hub's cache."""

    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode() + value.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
