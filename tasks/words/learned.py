"""What is learned of a concept: rows of the text encoders' tables, and an adapter of the denoiser where the method trains one."""

import hashlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import load_file, save
from torch import Tensor

from tasks.words.embedding_file import ADAPTER, EMBEDDING, embedding_file, files_of, in_order, read_rows

if TYPE_CHECKING:  # diffusers takes seconds to import, and reading a file needs none of it
    from tasks.diffusion.base_model import BaseModel


@dataclass(frozen=True)
class Learned:
    """A learned concept of any method."""

    placeholder_token: str
    """The word in prompts."""
    rows: Tensor
    """(vectors, dim); with several text encoders a row is one embedding of each, end to end."""
    adapter: Mapping[str, Tensor] = field(default_factory=dict)
    """A LoRA of the denoiser in diffusers' layout; empty where the denoiser stays as it is."""

    def on_the_cpu(self) -> "Learned":
        return replace(self, rows=self.rows.detach().cpu())

    def files(self, concept: str, record: Mapping, base: "BaseModel") -> dict[str, bytes]:
        """Return name -> content of its files. The embedding names the adapter by its SHA-256, so the embedding's digest stands for all.

        record: everything that decided what was learned.
        """
        files, description = dict[str, bytes](), dict(record)
        if self.adapter:
            files[ADAPTER] = in_order(save({name: value.contiguous() for name, value in self.adapter.items()}, {"format": "pt"}))
            description["lora_sha256"] = hashlib.sha256(files[ADAPTER]).hexdigest()
        return files | {EMBEDDING: embedding_file(concept, self.rows, description, base.widths, base.architecture)}


def read_learned(embedding: Path) -> Learned:
    """Read a learned concept from its embedding and the files that belong with it.

    Raises:
        ValueError: see `files_of`.
    """
    ((placeholder_token, rows),) = read_rows(embedding).items()
    adapters = files_of(embedding)[1:]
    return Learned(placeholder_token, rows, {name: value for path in adapters for name, value in load_file(path).items()})


@contextmanager
def taught(base: "BaseModel", concepts: Sequence[Learned]) -> Iterator[dict[str, Tensor]]:
    """Put concepts on the base model while the block runs, and yield placeholder -> rows (vectors, dim), which prompts are encoded with.

    Raises:
        ValueError: a concept has an adapter, and peft is not installed.
    """
    adapters = {f"concept_{number}": concept for number, concept in enumerate(concepts) if concept.adapter}
    words = {concept.placeholder_token: concept.rows for concept in concepts}
    if not adapters:
        yield words
        return
    require_peft(f"{next(iter(adapters.values())).placeholder_token}, a word with a tuned denoiser,")
    warnings.filterwarnings("ignore", message="Already found a `peft_config`")  # several adapters are intended
    try:
        for name, concept in adapters.items():
            base.unet.load_lora_adapter(dict(concept.adapter), prefix="unet", adapter_name=name)
        base.unet.set_adapters(list(adapters))
        base.unet.requires_grad_(False)
        yield words
    finally:
        base.unet.unload_lora()


def require_peft(what: str) -> None:
    """Check that peft is installed.

    Raises:
        ValueError: it is not.
    """
    if find_spec("peft") is None:
        raise ValueError(f"{what} needs peft, which is not installed; install the extra pivotal, as docs/methods.md says")
