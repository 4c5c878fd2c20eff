"""A LoRA of the denoiser (Hu et al. 2021), which is trained while the word stays fixed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from tasks.diffusion.base_model import BaseModel
from tasks.words.learned import Learned

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]


@dataclass
class Adapter:
    """A LoRA of the denoiser's attention. It is on the denoiser while a block runs and is taken off after it."""

    placeholder_token: str
    rows: Tensor
    """(vectors, dim): the word, which is not trained."""
    rank: int
    learning_rate: float
    seed: int
    penalty = None
    alone = True
    unet: nn.Module | None = None
    """The denoiser that the LoRA is on; None outside the block."""
    parameters: list[nn.Parameter] = field(default_factory=list)

    @contextmanager
    def on(self, base: BaseModel) -> Iterator[None]:
        """Put a LoRA that changes nothing yet on the denoiser while the block runs; its parameters are in float32."""
        from peft import LoraConfig

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)  # peft draws from the global generator
            base.unet.add_adapter(LoraConfig(r=self.rank, lora_alpha=self.rank, init_lora_weights="gaussian", target_modules=ATTENTION))
        try:
            self.unet, self.parameters = base.unet, [parameter for parameter in base.unet.parameters() if parameter.requires_grad]
            for parameter in self.parameters:
                parameter.data = parameter.data.float()
            self.optimizer = torch.optim.AdamW(self.parameters, lr=self.learning_rate, weight_decay=0.0)
            yield
        finally:
            base.unet.unload_lora()
            self.unet = None

    @property
    def learned(self) -> Learned:
        """The word and the LoRA as it is on the denoiser, in the layout that every diffusers pipeline loads."""
        from diffusers.utils import convert_state_dict_to_diffusers
        from peft.utils import get_peft_model_state_dict

        layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(self.unet))
        return Learned(self.placeholder_token, self.rows, {f"unet.{name}": value.detach().cpu().clone() for name, value in layers.items()})

    def count_step(self, step: int) -> None:
        """A LoRA is published as its last step left it."""

    def state(self) -> dict[str, Any]:
        values = [value.detach().cpu() for value in self.parameters]
        return {"rows": self.rows, "adapter": values, "optimizer": self.optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        with torch.no_grad():
            for parameter, value in zip(self.parameters, state["adapter"], strict=True):
                parameter.copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])
