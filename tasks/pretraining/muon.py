"""Muon (Jordan et al. 2024): matrices move by their orthogonalised momentum, everything else by AdamW."""

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.775, 2.0315)  # of the quintic that brings singular values near 1 in five steps
MOMENTUM, BETAS, EPS = 0.95, (0.9, 0.98), 1e-8


class Muon(torch.optim.Optimizer):
    """Muon for the matrices inside the layers, AdamW for embeddings, vectors, and convolutions.

    A matrix's update has the root mean square 0.2, as AdamW's has about (Liu et al. 2025), so one learning rate serves both. PyTorch's own Muon
    orthogonalises in bfloat16, which a CPU without that type does at a fiftieth of the speed.
    """

    def __init__(self, model: nn.Module, lr: float, weight_decay: float) -> None:
        tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
        learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
        matrices = [parameter for parameter in learned if parameter.ndim == 2 and id(parameter) not in tables and min(parameter.shape) > 1]
        chosen = {id(parameter) for parameter in matrices}
        others = [parameter for parameter in learned if id(parameter) not in chosen]
        super().__init__([{"params": matrices}, {"params": others}], {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        matrices, others = self.param_groups
        by_shape: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for parameter in matrices["params"]:
            if parameter.grad is not None:
                by_shape[parameter.shape].append((parameter, parameter.grad))
        for moving in by_shape.values():
            self.move_matrices(moving, matrices["lr"], matrices["weight_decay"])
        for parameter in others["params"]:
            if parameter.grad is not None:
                self.move(parameter, parameter.grad, others["lr"], others["weight_decay"])

    def move_matrices(self, moving: list[tuple[Tensor, Tensor]], rate: float, decay: float) -> None:
        """Move matrices of one shape against their orthogonalised Nesterov momentum."""
        looked_ahead = []
        for parameter, gradient in moving:
            momentum = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
            momentum.lerp_(gradient, 1 - MOMENTUM)
            looked_ahead.append(gradient.lerp(momentum, MOMENTUM))
        updates = orthogonal(torch.stack(looked_ahead))
        scale = 0.2 * max(updates.shape[1:]) ** 0.5
        for (parameter, _), update in zip(moving, updates, strict=True):
            parameter.mul_(1 - rate * decay).sub_(update, alpha=rate * scale)

    def move(self, parameter: Tensor, gradient: Tensor, rate: float, decay: float) -> None:
        """Move by AdamW (Loshchilov & Hutter 2019)."""
        state = self.state[parameter]
        if not state:
            state |= {"steps": torch.zeros(()), "mean": torch.zeros_like(parameter), "square": torch.zeros_like(parameter)}
        state["steps"] += 1
        steps, (first, second) = float(state["steps"]), BETAS
        state["mean"].lerp_(gradient, 1 - first)
        state["square"].lerp_(gradient.square(), 1 - second)
        spread = (state["square"] / (1 - second**steps)).sqrt_().add_(EPS)
        parameter.mul_(1 - rate * decay).addcdiv_(state["mean"], spread, value=-rate / (1 - first**steps))


def orthogonal(matrices: Tensor, steps: int = 5) -> Tensor:
    """Bring the singular values of matrices (n, rows, columns) near 1, by Newton and Schulz's iteration."""
    first, third, fifth = COEFFICIENTS
    wide = matrices.mT if matrices.shape[1] > matrices.shape[2] else matrices
    wide = wide / (wide.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        square = wide @ wide.mT
        wide = first * wide + (third * square + fifth * square @ square) @ wide
    return wide.mT if matrices.shape[1] > matrices.shape[2] else wide
