"""New words beside a frozen vocabulary: token ids past its end read learned rows, and nothing else ever moves."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy

import torch
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from tasks.diffusion.base_model import BaseModel


class SplicedEmbedding(nn.Module):
    """A frozen embedding table continued by learned rows.

    Equal to resizing the table and restoring its old rows after every step, but the optimizer holds only the new rows.
    """

    def __init__(self, frozen: nn.Embedding, first_id: int, learned: Tensor) -> None:
        super().__init__()
        self.frozen, self.first_id, self.learned = frozen, first_id, learned

    def forward(self, input_ids: Tensor) -> Tensor:
        """(batch, length) token ids -> (batch, length, dim)."""
        is_new = input_ids >= self.first_id
        vocabulary = self.frozen(input_ids.masked_fill(is_new, 0))
        learned = self.learned[(input_ids - self.first_id).clamp(min=0)]
        return torch.where(is_new[..., None], learned.to(vocabulary.dtype), vocabulary)


@contextmanager
def spliced(text_encoder: CLIPTextModel, first_id: int, learned: Tensor) -> Iterator[None]:
    """Let ids from `first_id` read `learned` (vectors, dim) while the block runs."""
    frozen = text_encoder.get_input_embeddings()
    text_encoder.set_input_embeddings(SplicedEmbedding(frozen, first_id, learned))
    try:
        yield
    finally:
        text_encoder.set_input_embeddings(frozen)


def vector_tokens(placeholder_token: str, num_vectors: int) -> list[str]:
    """Return the tokens of a word: `<teapot>`, `<teapot>_1`, ... (diffusers' convention)."""
    return [placeholder_token, *(f"{placeholder_token}_{index}" for index in range(1, num_vectors))]


def extend_tokenizer(tokenizer: CLIPTokenizer, words: Mapping[str, int]) -> CLIPTokenizer:
    """Return a copy that knows new words; `words` maps each placeholder to its number of vectors.

    Raises:
        ValueError: a placeholder is a word of the tokenizer already.
    """
    known = tokenizer.get_vocab()
    tokens = [token for word, num_vectors in words.items() for token in vector_tokens(word, num_vectors)]
    for token in tokens:
        if token in known:
            raise ValueError(f"placeholder_token {token!r} is already a word of the tokenizer; choose another under concepts in params.yaml")
    extended = deepcopy(tokenizer)
    extended.add_tokens(tokens)
    return extended


def expand(prompt: str, words: Mapping[str, int]) -> str:
    """Write every vector of each placeholder: `a <teapot>` -> `a <teapot> <teapot>_1`."""
    for word, num_vectors in words.items():
        prompt = prompt.replace(word, " ".join(vector_tokens(word, num_vectors)))
    return prompt


def tokenize(tokenizer: CLIPTokenizer, prompts: Sequence[str]) -> Tensor:
    """Return (prompts, model_max_length) token ids, padded and cut as the pipeline does."""
    return tokenizer(list(prompts), padding="max_length", truncation=True, max_length=tokenizer.model_max_length, return_tensors="pt").input_ids


def initializer_row(base: BaseModel, initializer_token: str) -> Tensor:
    """Return the embedding of the coarse word: (dim,).

    Raises:
        ValueError: the word is not exactly one token.
    """
    ids = base.tokenizer(initializer_token, add_special_tokens=False).input_ids
    if len(ids) != 1:
        pieces = " ".join(base.tokenizer.convert_ids_to_tokens(ids))
        raise ValueError(
            f"initializer_token {initializer_token!r} is {len(ids)} tokens ({pieces}) of {base.identity['model']}; choose a word of one token"
        )
    return base.vocabulary[ids[0]].detach().clone()


@torch.inference_mode()
def encode_prompts(base: BaseModel, prompts: Sequence[str], learned: Mapping[str, Tensor] | None = None) -> Tensor:
    """Return encoder_hidden_states of prompts that may use learned words: (prompts, length, dim).

    `learned` maps placeholders to (vectors, dim).
    """
    learned = learned or {}
    words = {word: len(rows) for word, rows in learned.items()}
    tokenizer = extend_tokenizer(base.tokenizer, words)
    input_ids = tokenize(tokenizer, [expand(prompt, words) for prompt in prompts]).to(base.device)
    dim = base.vocabulary.shape[1]
    rows = torch.cat([rows.to(base.device, torch.float32) for rows in learned.values()] or [torch.zeros(1, dim, device=base.device)])
    with spliced(base.text_encoder, len(base.tokenizer), rows):
        return base.text_encoder(input_ids).last_hidden_state
