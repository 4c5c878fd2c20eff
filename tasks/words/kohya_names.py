"""kohya's names of a denoiser's layers: diffusers' own for Stable Diffusion 1 and 2, the original repository's for SDXL."""

import re

RESNETS = 2  # of each block of SDXL; a block on the way up has one more
INSIDE = {
    "norm1": "in_layers_0",
    "conv1": "in_layers_2",
    "time_emb_proj": "emb_layers_1",
    "norm2": "out_layers_0",
    "conv2": "out_layers_3",
    "conv_shortcut": "skip_connection",
}
"""Part of a residual block of diffusers -> its name in the original repository."""
OUTSIDE = {
    "conv_in": "input_blocks_0_0",
    "conv_norm_out": "out_0",
    "conv_out": "out_2",
    "time_embedding.linear_1": "time_embed_0",
    "time_embedding.linear_2": "time_embed_2",
    "add_embedding.linear_1": "label_emb_0_0",
    "add_embedding.linear_2": "label_emb_0_2",
}
BLOCK = re.compile(r"^(?P<way>down|up)_blocks\.(?P<block>\d+)\.(?P<kind>resnets|attentions|downsamplers|upsamplers)\.(?P<index>\d+)\.(?P<part>.+)$")
MIDDLE = re.compile(r"^mid_block\.(?P<kind>resnets|attentions)\.(?P<index>\d+)\.(?P<part>.+)$")


def kohya_name(layer: str, xl: bool) -> str:
    """Return kohya's name of a layer, such as `input_blocks_4_1_transformer_blocks_0_attn2_to_k` for SDXL's `down_blocks.1.attentions.0. ...`."""
    if not xl:
        return layer.replace(".", "_")
    if layer in OUTSIDE:
        return OUTSIDE[layer]
    if middle := MIDDLE.match(layer):
        place = 1 if middle["kind"] == "attentions" else 2 * int(middle["index"])
        return f"middle_block_{place}_{part_name(middle['kind'], middle['part'])}"
    if not (match := BLOCK.match(layer)):
        return layer.replace(".", "_")
    block, index, kind, part = int(match["block"]), int(match["index"]), match["kind"], part_name(match["kind"], match["part"])
    if kind == "downsamplers":
        return f"input_blocks_{(block + 1) * (RESNETS + 1)}_0_op"
    if kind == "upsamplers":
        inner = 2 if block < 2 else 1  # SDXL's last block up has no attention, and no upsampler either
        return f"output_blocks_{block * (RESNETS + 1) + RESNETS}_{inner}_{part}"
    place = 0 if kind == "resnets" else 1
    if match["way"] == "down":
        return f"input_blocks_{1 + block * (RESNETS + 1) + index}_{place}_{part}"
    return f"output_blocks_{block * (RESNETS + 1) + index}_{place}_{part}"


def part_name(kind: str, part: str) -> str:
    """Return the name of a part of a residual block, or of a block of another kind."""
    return INSIDE.get(part, part.replace(".", "_")) if kind == "resnets" else part.replace(".", "_")
