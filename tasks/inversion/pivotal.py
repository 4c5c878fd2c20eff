"""Pivotal tuning (Gal et al. 2022, appendix A; Roich et al. 2021): once the word is found, the denoiser is tuned around it.

What is learned is a LoRA of the denoiser's attention. It is on the denoiser while a block runs, and nothing is left of it after.
"""

import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from tasks.diffusion.base_model import BaseModel
from tasks.inversion.options import Pivotal
from tasks.inversion.textual_inversion import Word
from tasks.inversion.training import pictures_that_fit, read_checkpoint, save_checkpoints, step, trainable
from tasks.words.embedding_file import LORA, in_order

logger = logging.getLogger(__name__)

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]


def tune_around(base: BaseModel, word: Word, options: Pivotal) -> Word:
    """Note that the denoiser is tuned once the word is found.

    Raises:
        ValueError: peft is not installed.
    """
    check_peft(f"invert.method pivotal of {word.concept}")
    return replace(word, tuning=options)


def check_peft(what: str) -> None:
    if find_spec("peft") is None:
        raise ValueError(f"{what} needs peft, which is not installed; install the extra pivotal, as docs/methods.md says")


def tune(base: BaseModel, word: Word, checkpoint: Path, checkpoint_every: int, on_step: Callable[[Word], object] = lambda word: None) -> bytes:
    """Tune a LoRA with the word held fast and return its file as diffusers writes it; a checkpoint is continued, and left behind at the end.

    Raises:
        FloatingPointError: the loss became NaN or infinite; the last checkpoint is kept.
    """
    options, started = word.tuning, time.monotonic()
    assert options is not None
    with new_adapter(base, options.rank, word.seed) as parameters, trainable(base):
        optimizer = torch.optim.AdamW(parameters, lr=options.learning_rate, weight_decay=0.0)
        rows = word.learned.detach().clone()
        tuned = replace(word, rows=rows, average=rows.clone(), best=None, optimizer=optimizer, settle=None, step=0, max_train_steps=options.steps)
        if state := read_checkpoint(checkpoint):
            tuned.restore(state["word"])
            load_parameters(parameters, state["lora"])
            logger.info("%s: its tuning continues at optimizer step %d of %d", word.concept, tuned.step, options.steps)
        most = pictures_that_fit(base, tuned)
        while tuned.step < options.steps:
            losses, most = step(base, [tuned], most)
            tuned.step += 1
            if tuned.step % checkpoint_every == 0 or tuned.step == options.steps:
                if not torch.isfinite(losses).all():
                    raise FloatingPointError(
                        f"the loss of {word.concept} is not finite at step {tuned.step} of its tuning; lower learning_rate in invert.options"
                    )
                save_checkpoints({checkpoint: {"word": tuned.state(), "lora": [value.detach().cpu() for value in parameters]}})
            on_step(tuned)
        word.seconds += time.monotonic() - started
        return lora_file(base)


def load_parameters(parameters: Sequence[nn.Parameter], values: Sequence[torch.Tensor]) -> None:
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)


@contextmanager
def new_adapter(base: BaseModel, rank: int, seed: int) -> Iterator[list[nn.Parameter]]:
    """Put a LoRA that changes nothing yet on the denoiser's attention while the block runs, and give its parameters, in float32."""
    from peft import LoraConfig

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # peft draws from the global generator
        base.unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=ATTENTION))
    try:
        parameters = [parameter for parameter in base.unet.parameters() if parameter.requires_grad]
        for parameter in parameters:
            parameter.data = parameter.data.float()
        yield parameters
    finally:
        base.unet.unload_lora()


def lora_file(base: BaseModel) -> bytes:
    """Return the file of the LoRA that is on the denoiser, in the layout that every diffusers pipeline loads."""
    from diffusers import StableDiffusionPipeline
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft.utils import get_peft_model_state_dict

    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(base.unet))
    with tempfile.TemporaryDirectory() as folder:
        StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=layers)
        return in_order((Path(folder) / LORA).read_bytes())


@contextmanager
def adapted(base: BaseModel, loras: Sequence[Path]) -> Iterator[None]:
    """Put the LoRAs of words on the denoiser while the block runs.

    Raises:
        ValueError: peft is not installed.
    """
    if not loras:
        yield
        return
    check_peft(f"{loras[0]}, a word with a tuned denoiser,")
    warnings.filterwarnings("ignore", message="Already found a `peft_config`")  # of a second word, which is meant
    names = [f"word_{number}" for number in range(len(loras))]
    try:
        for name, path in zip(names, loras, strict=True):
            base.unet.load_lora_adapter(load_file(path), prefix="unet", adapter_name=name)
        base.unet.set_adapters(names)
        base.unet.requires_grad_(False)
        yield
    finally:
        base.unet.unload_lora()
