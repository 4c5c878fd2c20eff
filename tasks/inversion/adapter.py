"""Changes of the denoiser as what is trained, beside the rows of their word or with them held fixed."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from tasks.diffusion.base_model import BaseModel
from tasks.diffusion.changes import Change, Difference, LowRank, each, weight_shape
from tasks.inversion.data import Data
from tasks.inversion.rows import Rows
from tasks.inversion.schedule import Schedule
from tasks.inversion.training import Training
from tasks.words.learned import Learned


@dataclass
class Adapter:
    """A word's rows and the changes of the layers that its pictures are denoised with.

    The frozen denoiser is shared: each row of a batch is changed by its own concept, so many adapters train together.
    """

    word: Rows
    """The rows; where they need no gradient they stay as they are."""
    changes: dict[str, Change]
    """Layer -> its change; the tensors that need a gradient are the parameters, in float32."""
    learning_rate: float
    """The constant rate of AdamW for the parameters."""
    scale: float = 1.0
    """alpha / rank of a LoRA. `up` has the scale in it, and Adam's steps do not grow with a gradient, so its rate is that much higher."""

    def __post_init__(self) -> None:
        ups = {id(change.up) for change in self.changes.values() if isinstance(change, LowRank)}
        groups: list[dict[str, Any]] = [
            {"params": [part for part in self.factors if id(part) not in ups], "lr": self.learning_rate},
            {"params": [part for part in self.factors if id(part) in ups], "lr": self.learning_rate * self.scale},
        ]
        groups = [group for group in groups if group["params"]]
        if self.word.rows.requires_grad:
            groups.append({"params": [self.word.rows], "lr": self.word.learning_rate})
        self.optimizer = torch.optim.AdamW(groups, weight_decay=0.0)

    def allocate(self) -> None:
        """Give each parameter memory of its own. All elements of a new difference are one zero."""
        for factor in self.factors:
            factor.data = factor.data.clone(memory_format=torch.contiguous_format)

    @property
    def factors(self) -> list[Tensor]:
        """The parameters of the changes."""
        return [part for change in self.changes.values() for part in change if part is not None and part.requires_grad]

    @property
    def rows(self) -> Tensor:
        return self.word.rows

    @property
    def fixed(self) -> Tensor | None:
        return self.word.fixed

    @property
    def penalty(self) -> Any:
        return self.word.penalty if self.word.rows.requires_grad else None

    @property
    def learned(self) -> Learned:
        """The word, and the changes as their last step left them."""
        changes = {layer: each(change, lambda part: part.detach()) for layer, change in self.changes.items()}
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


def new_lora(base: BaseModel, targets: str, rank: int, seed: int, concept: str) -> dict[str, Change]:
    """Return layer -> the factors of a LoRA that changes nothing yet: `down` is drawn at random, `up` is 0.

    A convolution's factors are those of LoCon.

    Raises:
        ValueError: the denoiser has no such layers, or the rank is larger than that of one of them.
    """
    layers, generator = base.layers(targets), torch.Generator().manual_seed(seed)
    if not layers:
        raise ValueError(f"invert.options.layers of {concept} is {targets}, and {base.identity['model']} has no such layers; choose others")
    changes: dict[str, Change] = {}
    for layer, module in layers.items():
        width_out, *shape_in = weight_shape(module)
        if rank > (most := min(width_out, prod(shape_in))):
            raise ValueError(f"invert.options.rank of {concept} is {rank}, more than the {most} of {layer} in {base.identity['model']}; lower it")
        down = torch.randn(rank, *shape_in, generator=generator) / rank / prod(shape_in[1:]) ** 0.5
        changes[layer] = LowRank(nn.Parameter(down.to(base.device)), nn.Parameter(torch.zeros(width_out, rank, device=base.device)))
    return changes


def new_differences(base: BaseModel) -> dict[str, Change]:
    """Return layer -> a difference of 0 for each layer of the denoiser that has weights; it has no memory of its own until `Adapter.allocate`."""
    kinds = nn.Linear | nn.Conv2d | nn.GroupNorm | nn.LayerNorm
    layers = {name: module for name, module in base.denoiser.named_modules() if isinstance(module, kinds) and module.weight is not None}
    layers = {name: module for name, module in layers.items() if not re.match(base.family.mixed, name)}

    def zeros(*shape: int) -> nn.Parameter:
        return nn.Parameter(torch.zeros((), device=base.device).expand(shape))

    return {
        name: Difference(zeros(*weight_shape(module)), None if module.bias is None else zeros(*module.bias.shape)) for name, module in layers.items()
    }


def tuned_after(training: Training, data: Data, steps: int, adapter: Callable[[Rows], Adapter]) -> Training:
    """Let the denoiser be tuned for some steps once a word's own training has ended, with the word held fixed.

    data: what the tuning learns from. adapter: makes what is tuned of the word, whose rows need no gradient.
    """

    def tuning(word: Training) -> Training:
        assert word.result is not None
        fixed = replace(word.trainable, rows=word.result.rows.detach().clone())
        schedule = Schedule(steps, seconds=word.schedule.seconds)
        return Training(word.concept, data, adapter(fixed), schedule, before=word, phase="tuning", rate="learning_rate in invert.options")

    training.then = tuning
    return training
