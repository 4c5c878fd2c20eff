"""Where in a picture a word's adapter acts: where the cross-attention looks at the word (Hertz et al. 2022; Tang et al. 2022)."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tasks.diffusion.per_layer import cross_attentions

if TYPE_CHECKING:  # diffusers takes seconds to import, and reading an adapter's file needs none of it
    from tasks.diffusion.families.parts import Condition

Denoise = Callable[[Tensor, Tensor | float, "Condition"], Tensor]
Watch = Callable[["Looking"], AbstractContextManager[None]]
"""Has the passes of this thread collect attention while a block runs."""
CERTAIN = 0.5  # a place with at least this share of the picture's highest attention belongs wholly to the word


def local_prediction(watch: Watch, denoise: Denoise, latents: Tensor, timesteps: Tensor | float, condition: "Condition") -> Tensor:
    """Return a prediction that each adapter changes only where its word is, like `latents` (batch, channels, height, width).

    Every row is predicted without an adapter. For each pair of a row and an adapter there is one more row, with that adapter alone. Its
    difference from the plain row counts where the plain row attends to the word.
    """
    assert condition.strengths is not None
    strengths = condition.strengths
    pairs = strengths.amax(dim=2).nonzero()
    if not len(pairs):
        return denoise(latents, timesteps, condition._replace(strengths=None))
    rows, adapters = pairs.unbind(dim=1)
    single = torch.zeros(len(pairs), *strengths.shape[1:])
    single[torch.arange(len(pairs)), adapters] = strengths[rows, adapters]
    extra = condition.rows(rows.tolist())._replace(strengths=single)
    both = condition._replace(strengths=torch.zeros_like(strengths)).followed_by(extra)
    if isinstance(timesteps, Tensor) and timesteps.dim():
        timesteps = torch.cat([timesteps, timesteps[rows]])
    index, tokens = rows.to(latents.device), (strengths[rows, adapters] > 0).to(latents)
    looking = Looking(index, tokens, [])
    with watch(looking):
        plain, changed = denoise(torch.cat([latents, latents[index]]), timesteps, both).split([len(latents), len(pairs)])
    difference = changed - plain[index]
    return plain.clone().index_add_(0, index, place_of_words(looking.maps, difference) * difference)


class Looking(NamedTuple):
    """What one pass through the denoiser collects: one map (rows, height * width) of each cross-attention layer."""

    rows: Tensor
    """(rows,): those of the batch that are looked at."""
    tokens: Tensor
    """(rows, length): 1 for the tokens of the word."""
    maps: list[Tensor]


def reading_text(denoiser: nn.Module) -> list[nn.Module]:
    """Return the attention layers in which places of the picture look at the text as a sequence of its own.

    They are the cross-attention layers of a UNet and the joint attention of a transformer's blocks with two streams.
    """
    joint = [module for module in denoiser.modules() if isinstance(getattr(module, "add_k_proj", None), nn.Module)]
    return joint or list(cross_attentions(denoiser).values())


def look(looking: Looking, attention: Any, hidden: Tensor, keywords: Mapping[str, Any]) -> None:
    """Add the attention of some rows of a layer's batch to some tokens of their prompts to what a pass collects.

    hidden: (rows, places, channels). keywords: the others that the layer was called with.
    """
    hidden, text = hidden[looking.rows], keywords["encoder_hidden_states"][looking.rows]
    joint = isinstance(getattr(attention, "add_k_proj", None), nn.Module)
    # Not by calling the layers, which would put the adapters of other rows on these.
    queries, keys = (
        layer.forward(value).unflatten(2, (attention.heads, -1))
        for value, layer in ((hidden, attention.to_q), (text, attention.add_k_proj if joint else attention.to_k))
    )
    if joint and attention.norm_q is not None:
        queries, keys = attention.norm_q(queries), attention.norm_added_k(keys)
    if (turn := keywords.get("image_rotary_emb")) is not None:  # the text comes first and has the place 0, at which nothing turns
        from diffusers.models.embeddings import apply_rotary_emb

        queries = apply_rotary_emb(queries, tuple(part[text.shape[1] :] for part in turn), sequence_dim=1)
    queries, keys = queries.transpose(1, 2), keys.transpose(1, 2)
    scale = queries.shape[-1] ** -0.5 if joint else attention.scale
    attended = (queries @ keys.transpose(2, 3) * scale).softmax(dim=3).mean(dim=1)
    looking.maps.append((attended @ looking.tokens.to(attended)[:, :, None]).squeeze(2))


def place_of_words(maps: list[Tensor], like: Tensor) -> Tensor:
    """Return masks from 0 to 1 (rows, 1, height, width) for latents `like` (rows, channels, height, width).

    The maps of the finest layers are averaged: coarser ones do not tell neighbours apart. A denoiser without attention gives 1 everywhere.
    """
    height, width = like.shape[2:]
    if not maps:
        return torch.ones_like(like[:, :1])
    finest = max(attended.shape[1] for attended in maps)
    mean = torch.stack([attended for attended in maps if attended.shape[1] == finest]).mean(dim=0).float()
    rows = round((finest * height / width) ** 0.5)  # a layer of half the resolution has half of the rows, rounded up
    mean = mean.view(len(mean), 1, rows, finest // rows)
    low, high = mean.amin(dim=(2, 3), keepdim=True), mean.amax(dim=(2, 3), keepdim=True)
    place = ((mean - low) / (high - low).clamp(min=1e-12) / CERTAIN).clamp(max=1)
    return F.interpolate(place, size=(height, width), mode="bilinear", align_corners=False)
