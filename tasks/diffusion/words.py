"""New words beside a frozen vocabulary: token ids past its end read learned rows, and nothing else changes."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from copy import deepcopy
from itertools import accumulate, pairwise

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from tasks.diffusion.adapters import read_strengths
from tasks.diffusion.base_model import BaseModel
from tasks.diffusion.families.parts import Condition, spliced
from tasks.diffusion.per_layer import cross_attentions, joined_rows


def vector_tokens(placeholder_token: str, num_vectors: int) -> list[str]:
    """Return the tokens of a word: `<teapot>`, `<teapot>_1`, ... (diffusers' convention)."""
    return [placeholder_token, *(f"{placeholder_token}_{index}" for index in range(1, num_vectors))]


def extend_tokenizer(tokenizer: PreTrainedTokenizerBase, words: Mapping[str, int]) -> PreTrainedTokenizerBase:
    """Return a copy of a tokenizer with new words; `words` maps each placeholder to its number of vectors.

    Raises:
        ValueError: a placeholder is a word of the tokenizer already.
    """
    vocabulary = tokenizer.get_vocab()
    tokens = [token for word, num_vectors in words.items() for token in vector_tokens(word, num_vectors)]
    for token in tokens:
        if token in vocabulary:
            raise ValueError(f"placeholder_token {token!r} is already a word of the tokenizer; choose another under concepts in params.yaml")
    extended = deepcopy(tokenizer)
    extended.add_tokens(tokens)
    return extended


def expand(prompt: str, words: Mapping[str, int]) -> str:
    """Write every vector of each placeholder: `a <teapot>` -> `a <teapot> <teapot>_1`."""
    for word, num_vectors in words.items():
        prompt = prompt.replace(word, " ".join(vector_tokens(word, num_vectors)))
    return prompt


def token_ids(base: BaseModel, prompts: Sequence[str], words: Mapping[str, int]) -> Tensor:
    """Return (prompts, text encoders, length) token ids of prompts that may use new words, padded and cut as the pipelines do.

    `words` maps each placeholder to its number of vectors; their ids start at the end of each vocabulary. After the end of a text encoder
    whose prompts are shorter than another's the ids are -1.
    """
    texts, longest = [expand(prompt, words) for prompt in prompts], max(encoder.length for encoder in base.text_encoders)
    ids = torch.full((len(prompts), len(base.text_encoders), longest), -1)
    for number, (tokenizer, _, part, length) in enumerate(base.text_encoders):
        written = [part.written(tokenizer, text) for text in texts]
        padded = {"padding": "max_length", "padding_side": "right", "truncation": True, "max_length": length}
        ids[:, number, :length] = extend_tokenizer(tokenizer, words)(written, **padded, return_tensors="pt").input_ids
    return ids


def initializer_row(base: BaseModel, initializer_token: str) -> Tensor:
    """Return the embedding of the coarse word: (dim,), those of several text encoders end to end, in float32 whatever the encoders are in.

    A text encoder that seldom has whole words gives the mean of the word's pieces.

    Raises:
        ValueError: the word is not exactly one token of a text encoder that has whole words.
    """
    pieces = []
    for tokenizer, _, part, _ in base.text_encoders:
        ids = tokenizer(initializer_token, add_special_tokens=False).input_ids
        if len(ids) != 1 and not (part.pieces and ids):
            spelled = " ".join(tokenizer.convert_ids_to_tokens(ids))
            raise ValueError(
                f"initializer_token {initializer_token!r} is {len(ids)} tokens ({spelled}) of {base.identity['model']}; choose a word of one token"
            )
        pieces.append(ids)
    rows = [encoder.table.weight[ids].mean(dim=0) for encoder, ids in zip(base.text_encoders, pieces, strict=True)]
    return torch.cat(rows).detach().float().clone()


def initializer_rows(base: BaseModel, phrase: str) -> Tensor:
    """Return the embeddings of a phrase's words, each of which is one token: (words, dim)."""
    return torch.stack([initializer_row(base, word) for word in phrase.split()])


def encode_tokens(base: BaseModel, input_ids: Tensor, rows: Tensor, learning: Sequence[bool] | None = None) -> Condition:
    """Return the condition of token ids (prompts, text encoders, length) whose new words read `rows` (vectors, dim or layers * dim).

    learning: whether the rows get gradients through each text encoder; by default through all.

    Rows for each cross-attention layer make a text for each layer; the pooled prompt is the texts' mean.
    """
    ids, texts = input_ids.to(base.device).unbind(dim=1), []
    for of_layer in rows.split(sum(base.widths), dim=1):
        with ExitStack() as splices:
            for number, part in enumerate(of_layer.split(base.widths, dim=1)):
                splices.enter_context(spliced(base.text_encoders[number], part if learning is None or learning[number] else part.detach()))
            texts.append(base.family.encode(base, [part[:, : encoder.length] for encoder, part in zip(base.text_encoders, ids, strict=True)]))
    if len(texts) == 1:
        return texts[0]
    pooled = [text.pooled for text in texts if text.pooled is not None]
    return Condition(torch.cat([text.hidden for text in texts], dim=-1), torch.stack(pooled).mean(dim=0) if pooled else None)


@torch.inference_mode()
def encode_prompts(base: BaseModel, prompts: Sequence[str], learned: Mapping[str, Tensor] | None = None) -> Condition:
    """Return the condition of prompts that may use learned words; `learned` maps placeholders to (vectors, dim), or to
    (vectors, layers * dim) for a word that each cross-attention layer reads in its own way.

    A prompt may say how strongly a word's adapter acts, such as `<fox:0.7>`.

    Raises:
        ValueError: a word's vectors have another width than the base model's, or a word without an adapter has a strength.
    """
    learned, width = learned or {}, sum(base.widths)
    plain, strengths = read_strengths(prompts, base.adapters.words)
    for word, rows in learned.items():
        if rows.shape[1] not in (width, width * len(cross_attentions(base.denoiser))):
            raise ValueError(
                f"{word} has vectors of {rows.shape[1]} values, those of {base.identity['model']} have {width}; learn it on this base model"
            )
    rows = joined_rows([rows.to(base.device, torch.float32) for rows in learned.values()] or [torch.zeros(1, width, device=base.device)])
    input_ids = token_ids(base, plain, {word: len(rows) for word, rows in learned.items()})
    condition = encode_tokens(base, input_ids, rows)
    if strengths is None:
        return condition
    tokens = tokens_of(base, input_ids, learned)
    tokens = F.pad(tokens, (0, condition.hidden.shape[1] - tokens.shape[2]))  # of what takes a missing text encoder's place
    return condition._replace(strengths=strengths[:, :, None] * tokens)


def tokens_of(base: BaseModel, input_ids: Tensor, learned: Mapping[str, Tensor]) -> Tensor:
    """Return 1 at the tokens of each word that has an adapter and 0 elsewhere: (prompts, adapters, length), on the CPU.

    input_ids: (prompts, text encoders, length), as of `token_ids`.
    """
    ends = accumulate((len(rows) for rows in learned.values()), initial=0)
    spans = dict(zip(learned, pairwise(ends), strict=True))
    read = [number for number, encoder in enumerate(base.text_encoders) if encoder.part.key in base.family.reads]
    ids = torch.cat([(input_ids - base.first_ids.cpu())[:, number, : base.text_encoders[number].length] for number in read], dim=1)
    of_words = [spans.get(word, (0, 0)) for word in base.adapters.words]
    return torch.stack([((ids >= start) & (ids < end)).float() for start, end in of_words], dim=1)


def unconditional(base: BaseModel) -> Condition:
    """Return the condition of no prompt at all, for classifier-free guidance: one row."""
    return base.family.nothing(encode_prompts(base, [""]), base.config)


def whole_words(base: BaseModel, count: int | None = None) -> list[str]:
    """Return the first `count` whole words of the vocabulary, by default all; most tokens are pieces of words."""
    special, words = set(base.tokenizer.all_special_ids), list[str]()
    for token_id in range(len(base.tokenizer)):
        if len(words) == count:
            break
        if token_id not in special and (text := whole_word(base, token_id)):
            words.append(text)
    return words


def whole_word(base: BaseModel, token_id: int) -> str | None:
    """Return the text of a token that is a whole word: tokenizing the text gives that one token."""
    text = base.tokenizer.decode([token_id]).strip()
    return text if text and base.tokenizer(text, add_special_tokens=False).input_ids == [token_id] else None


def nearest_words(base: BaseModel, row: Tensor, count: int) -> list[tuple[str, float]]:
    """Return the `count` whole words of the vocabulary nearest to a row (dim,) and their cosines, nearest first."""
    vocabulary = base.vocabulary[: len(base.tokenizer)]
    cosines = torch.cosine_similarity(vocabulary, row.to(vocabulary)[None, : vocabulary.shape[1]])
    special, nearest = set(base.tokenizer.all_special_ids), list[tuple[str, float]]()
    for token_id in cosines.argsort(descending=True).tolist():
        if token_id not in special and (text := whole_word(base, token_id)):
            nearest.append((text, float(cosines[token_id])))
            if len(nearest) == count:
                break
    return nearest
