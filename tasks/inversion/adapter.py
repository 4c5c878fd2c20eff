"""A LoRA of the denoiser (Hu et al. 2021) as what is trained, beside the rows of its word or with them held fixed."""

from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from tasks.diffusion.adapters import LowRank, layers_of
from tasks.diffusion.base_model import BaseModel
from tasks.inversion.rows import Rows
from tasks.words.learned import Learned


@dataclass
class Adapter:
    """A word's rows and the LoRA of the layers that its pictures are denoised with.

    The frozen denoiser is shared: each row of a batch is multiplied by the factors of its own concept, so many adapters train together.
    """

    word: Rows
    """The rows; where they need no gradient they stay as they are."""
    changes: dict[str, LowRank]
    """Layer -> factors, which are parameters in float32."""
    learning_rate: float
    """The constant rate of AdamW for the factors."""

    def __post_init__(self) -> None:
        groups: list[dict[str, Any]] = [{"params": self.factors, "lr": self.learning_rate}]
        if self.word.rows.requires_grad:
            groups.append({"params": [self.word.rows], "lr": self.word.learning_rate})
        self.optimizer = torch.optim.AdamW(groups, weight_decay=0.0)

    @property
    def factors(self) -> list[Tensor]:
        return [factor for change in self.changes.values() for factor in change]

    @property
    def rows(self) -> Tensor:
        return self.word.rows

    @property
    def penalty(self) -> Any:
        return self.word.penalty if self.word.rows.requires_grad else None

    @property
    def learned(self) -> Learned:
        """The word, and the LoRA as its last step left it."""
        changes = {layer: LowRank(*(factor.detach() for factor in change)) for layer, change in self.changes.items()}
        return Learned(self.word.placeholder_token, self.word.learned.rows if self.word.rows.requires_grad else self.word.rows, changes)

    def count_step(self, step: int) -> None:
        if self.word.rows.requires_grad:
            self.word.count_step(step)

    def state(self) -> dict[str, Any]:
        """Return all that a resumed training needs."""
        return {
            "rows": self.word.rows.detach(),
            "average": self.word.average,
            "adapter": [factor.detach() for factor in self.factors],
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        with torch.no_grad():
            self.word.rows.copy_(state["rows"])
            for factor, value in zip(self.factors, state["adapter"], strict=True):
                factor.copy_(value)
        self.word.average.copy_(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])


def new_changes(base: BaseModel, targets: str, rank: int, seed: int, concept: str) -> dict[str, LowRank]:
    """Return layer -> the factors of a LoRA that changes nothing yet: `down` is drawn at random, `up` is 0.

    A convolution's factors are those of LoCon.

    Raises:
        ValueError: the denoiser has no such layers, or the rank is larger than that of one of them.
    """
    layers, generator = layers_of(base.unet, targets), torch.Generator().manual_seed(seed)
    if not layers:
        raise ValueError(f"invert.options.layers of {concept} is {targets}, and {base.identity['model']} has no such layers; choose others")
    changes = {}
    for layer, module in layers.items():
        width_out, *shape_in = module.weight.shape
        if rank > (most := min(width_out, prod(shape_in))):
            raise ValueError(f"invert.options.rank of {concept} is {rank}, more than the {most} of {layer} in {base.identity['model']}; lower it")
        down = torch.randn(rank, *shape_in, generator=generator) / rank / prod(shape_in[1:]) ** 0.5
        changes[layer] = LowRank(nn.Parameter(down.to(base.device)), nn.Parameter(torch.zeros(width_out, rank, device=base.device)))
    return changes
