"""The judge of fidelity: a network that tells things apart by their shape, where CLIP tells kinds of things apart (DINO in Ruiz et al. 2023)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor, AutoModel

from tasks.diffusion.base_model import weights_sha256
from tasks.diffusion.devices import pick_device
from tasks.diffusion.loading import loaded_once
from tasks.pictures.cutting import cut_out
from tasks.shipped import folder_of
from tasks.similarity.scorer import state_sha256


@dataclass(frozen=True)
class Eye:
    """An image model in evaluation mode."""

    model: Any
    processor: Any
    device: str
    identity: dict[str, str]
    """model (name and revision) and weights_sha256."""

    @torch.inference_mode()
    def image_features(self, pictures: Sequence[Image.Image], batch_size: int = 32) -> Tensor:
        """Return L2-normalised features on the CPU: (pictures, dim). A thing on a plain ground is cut from it first."""
        parts = []
        for start in range(0, len(pictures), batch_size):
            things = [cut_out(picture.convert("RGB")) for picture in pictures[start : start + batch_size]]
            pixels = self.processor(things, return_tensors="pt").to(self.device)
            parts.append(F.normalize(self.model(**pixels).pooler_output.flatten(1).float(), dim=-1).cpu())
        return torch.cat(parts)


@loaded_once
def load_eye(model: str, revision: str | None, device: str) -> Eye:
    """Load an image model of transformers that pools its output: from a folder, from the hub at a revision, or an embedded one by its name.

    Raises:
        ValueError: it does not load, it pools nothing, or a folder's weights are not those that `revision` names.
    """
    folder, device = folder_of(model), pick_device(device)
    weights = weights_sha256(folder) if folder else None
    if weights and revision and not weights.startswith(revision):
        raise ValueError(
            f"score.fidelity.revision is {revision}, but the weights in {folder} are {weights[:12]}; restore the folder or change params.yaml"
        )
    source, hub_revision = (str(folder), None) if folder else (model, revision)
    transformers.utils.logging.disable_progress_bar()  # loading takes a moment; a build draws its own bar
    try:
        network = AutoModel.from_pretrained(source, revision=hub_revision, dtype=torch.float32, use_safetensors=True)
        processor = AutoImageProcessor.from_pretrained(source, revision=hub_revision)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"score.fidelity.model {model!r} does not load ({reason}); name a folder or a hub id of an image model") from error
    network = network.to(device).eval().requires_grad_(False)
    name = f"{model}/{revision}" if revision and not folder else model
    eye = Eye(network, processor, device, {"model": name, "weights_sha256": weights or state_sha256(network)})
    try:
        eye.image_features([Image.new("RGB", (64, 64))])
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"score.fidelity.model {model!r} gives no pooled features of a picture; name an image model such as DINOv2") from error
    return eye
