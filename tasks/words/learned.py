"""What is learned of a concept: rows of the text encoders' tables, and an adapter of the denoiser where the method trains one."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import load_file, save
from torch import Tensor

from tasks.diffusion.changes import Changes, LowRank, each
from tasks.words.adapter_file import read_changes, stored
from tasks.words.embedding_file import ADAPTERS, EMBEDDING, embedding_file, files_of, in_order, read_rows

if TYPE_CHECKING:  # diffusers takes seconds to import, and reading a file needs none of it
    from tasks.diffusion.base_model import BaseModel


@dataclass(frozen=True)
class Learned:
    """A learned concept of any method."""

    placeholder_token: str
    """The word in prompts."""
    rows: Tensor
    """(vectors, dim); with several text encoders a row is one embedding of each, end to end."""
    adapter: Changes = field(default_factory=dict)
    """Layer of the denoiser -> its change; empty where the denoiser stays as it is."""

    def on_the_cpu(self) -> "Learned":
        """Return a copy that no further training step changes."""
        adapter = {layer: each(change, lambda part: part.detach().cpu().clone()) for layer, change in self.adapter.items()}
        return replace(self, rows=self.rows.detach().cpu().clone(), adapter=adapter)

    def files(self, concept: str, record: Mapping, base: "BaseModel") -> dict[str, bytes]:
        """Return name -> content of its files. The embedding names the adapter by its SHA-256, so the embedding's digest stands for all.

        record: everything that decided what was learned.
        """
        files, description = dict[str, bytes](), dict(record)
        if self.adapter:
            kind = adapter_kind(self.adapter)
            files[ADAPTERS[kind]] = in_order(save(stored(self.adapter), {"format": "pt"}))
            description[f"{kind}_sha256"] = hashlib.sha256(files[ADAPTERS[kind]]).hexdigest()
        return files | {EMBEDDING: embedding_file(concept, self.rows, description, base.parts, base.architecture)}


def read_learned(embedding: Path) -> Learned:
    """Read a learned concept from its embedding and the files that belong with it.

    Raises:
        ValueError: see `files_of`.
    """
    ((placeholder_token, rows),) = read_rows(embedding).items()
    tensors = {name: value for path in files_of(embedding)[1:] for name, value in load_file(path).items()}
    return Learned(placeholder_token, rows, read_changes(tensors))


def adapter_kind(adapter: Changes) -> str:
    """Return the key of `ADAPTERS` that an adapter is kept under."""
    return "lora" if all(isinstance(change, LowRank) for change in adapter.values()) else "changes"


@contextmanager
def taught(base: "BaseModel", concepts: Sequence[Learned]) -> Iterator[dict[str, Tensor]]:
    """Put concepts on the base model while the block runs, and yield placeholder -> rows (vectors, dim), which prompts are encoded with.

    An adapter acts on the pictures whose prompt has its word; every other picture is the base model's.

    Raises:
        ValueError: an adapter was learned on another base model.
    """
    adapters = {concept.placeholder_token: concept.adapter for concept in concepts if concept.adapter}
    with base.adapters.attached(base.denoiser, {word: on_device(adapter, base) for word, adapter in adapters.items()}):
        yield {concept.placeholder_token: concept.rows for concept in concepts}


def on_device(adapter: Changes, base: "BaseModel") -> Changes:
    dtype = base.denoiser.dtype  # diffusers looks through all modules for it
    return {layer: each(change, lambda part: part.to(base.device, dtype)) for layer, change in adapter.items()}
