"""The layers of a transformer as kohya's scripts have them, which join the queries, keys and values of an attention into one layer.

The original repositories of Stable Diffusion 3 and FLUX.1 have them so, and every tool that reads kohya's files reads these.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch

from tasks.diffusion.changes import LowRank


class Joined(NamedTuple):
    """A layer of kohya's and the layers of diffusers that it consists of, from the first row of its weight to the last."""

    name: str
    members: tuple[str, ...]


DOUBLE, SINGLE = "transformer_blocks.{}", "single_transformer_blocks.{}"
FLUX = (
    Joined("double_blocks_{}_img_attn_qkv", tuple(f"{DOUBLE}.attn.to_{part}" for part in "qkv")),
    Joined("double_blocks_{}_txt_attn_qkv", tuple(f"{DOUBLE}.attn.add_{part}_proj" for part in "qkv")),
    Joined("double_blocks_{}_img_attn_proj", (f"{DOUBLE}.attn.to_out.0",)),
    Joined("double_blocks_{}_txt_attn_proj", (f"{DOUBLE}.attn.to_add_out",)),
    Joined("double_blocks_{}_img_mlp_0", (f"{DOUBLE}.ff.net.0.proj",)),
    Joined("double_blocks_{}_img_mlp_2", (f"{DOUBLE}.ff.net.2",)),
    Joined("double_blocks_{}_txt_mlp_0", (f"{DOUBLE}.ff_context.net.0.proj",)),
    Joined("double_blocks_{}_txt_mlp_2", (f"{DOUBLE}.ff_context.net.2",)),
    Joined("single_blocks_{}_linear1", (*(f"{SINGLE}.attn.to_{part}" for part in "qkv"), f"{SINGLE}.proj_mlp")),
    Joined("single_blocks_{}_linear2", (f"{SINGLE}.proj_out",)),
)
SD3 = (
    Joined("joint_blocks_{}_x_block_attn_qkv", tuple(f"{DOUBLE}.attn.to_{part}" for part in "qkv")),
    Joined("joint_blocks_{}_context_block_attn_qkv", tuple(f"{DOUBLE}.attn.add_{part}_proj" for part in "qkv")),
    Joined("joint_blocks_{}_x_block_attn_proj", (f"{DOUBLE}.attn.to_out.0",)),
    Joined("joint_blocks_{}_context_block_attn_proj", (f"{DOUBLE}.attn.to_add_out",)),
    Joined("joint_blocks_{}_x_block_attn2_qkv", tuple(f"{DOUBLE}.attn2.to_{part}" for part in "qkv")),
    Joined("joint_blocks_{}_x_block_attn2_proj", (f"{DOUBLE}.attn2.to_out.0",)),
    Joined("joint_blocks_{}_x_block_mlp_fc1", (f"{DOUBLE}.ff.net.0.proj",)),
    Joined("joint_blocks_{}_x_block_mlp_fc2", (f"{DOUBLE}.ff.net.2",)),
    Joined("joint_blocks_{}_context_block_mlp_fc1", (f"{DOUBLE}.ff_context.net.0.proj",)),
    Joined("joint_blocks_{}_context_block_mlp_fc2", (f"{DOUBLE}.ff_context.net.2",)),
)
TABLES = {"flux-1": FLUX, "stable-diffusion-3": SD3}
"""Start of a base model's name in ModelSpec -> the joined layers of its transformer."""
MLP = 4  # rows of FLUX.1's proj_mlp for each of its columns


def joined_layers(architecture: str, layers: Iterable[str]) -> list[Joined]:
    """Return the joined layers that have any of these layers of diffusers; none for an architecture that joins none."""
    table = next((table for start, table in TABLES.items() if architecture.startswith(start)), ())
    there = set(layers)
    blocks = sorted({int(number) for layer in there for number in re.findall(r"transformer_blocks\.(\d+)\.", layer)})
    filled = [Joined(name.format(block), tuple(member.format(block) for member in members)) for block in blocks for name, members in table]
    return [layer for layer in filled if there & set(layer.members)]


def join(layer: Joined, changes: Mapping[str, LowRank]) -> LowRank:
    """Return the change of a joined layer: the ranks of its members' changes add up, and each change acts on its member's rows alone."""
    present = [(member, changes[member]) for member in layer.members if member in changes]
    columns = present[0][1].down.shape[1]
    heights = [len(changes[member].up) if member in changes else columns * (MLP if member.endswith("proj_mlp") else 1) for member in layer.members]
    down, first = torch.cat([change.down for _, change in present]), 0
    up = down.new_zeros(sum(heights), len(down))
    for member, height, top in zip(layer.members, heights, tops(heights), strict=True):
        if member in changes:
            own = changes[member].up
            up[top : top + height, first : first + own.shape[1]] = own
            first += own.shape[1]
    return LowRank(down, up)


def taken_apart(layer: Joined, change: LowRank, heights: Mapping[str, int]) -> dict[str, LowRank]:
    """Return the change of each member of a joined layer; one that does not act on a member gives none.

    heights: the rows of each member's weight.

    Raises:
        ValueError: the change has another number of rows than the members together.
    """
    rows = [heights[member] for member in layer.members]
    if len(change.up) != sum(rows):
        raise ValueError(f"the LoRA has {len(change.up)} rows for {layer.name}, and this denoiser has {sum(rows)} there")
    parts = dict[str, LowRank]()
    for member, height, top in zip(layer.members, rows, tops(rows), strict=True):
        up = change.up[top : top + height]
        acting = up.abs().sum(dim=0) > 0
        if acting.any():
            parts[member] = LowRank(change.down[acting].contiguous(), up[:, acting].contiguous())
    return parts


def tops(heights: list[int]) -> list[int]:
    """Return where each of several parts begins that lie one below the other."""
    return torch.tensor([0, *heights[:-1]]).cumsum(0).tolist()
