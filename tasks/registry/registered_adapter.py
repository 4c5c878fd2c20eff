"""The changes of a registered concept's denoiser as MLflow loads them: this file is copied into versions, so it imports nothing from wordmint."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def denoiser_of(pipeline: Any) -> Any:
    """Return the UNet or the transformer of a pipeline."""
    return pipeline.unet if hasattr(pipeline, "unet") else pipeline.transformer


def cross_attentions(unet: Any) -> list[Any]:
    """Return the cross-attention layers of a UNet in the order in which a picture goes through them; a transformer has none."""
    blocks = ("down_blocks", "mid_block", "up_blocks")
    names = [name for name, _ in unet.named_modules() if name.rpartition(".")[2] == "attn2" and name.partition(".")[0] in blocks]
    return [unet.get_submodule(name) for name in sorted(names, key=lambda name: blocks.index(name.partition(".")[0]))]


def reading_text(denoiser: Any) -> list[Any]:
    """Return the attention layers in which places of the picture look at the text as a sequence of its own."""
    return [module for module in denoiser.modules() if getattr(module, "add_k_proj", None) is not None] or cross_attentions(denoiser)


def changes_in(tensors: Mapping[str, Any]) -> dict[str, Callable[[Any, Any], Any]]:
    """Return layer -> function of the layer and its inputs that gives what is added to its output.

    Raises:
        ValueError: a tensor is of no known kind.
    """
    changes = {}
    for name, tensor in tensors.items():
        layer, kind = next(((name.partition(".")[2].removesuffix(end), end) for end in KINDS if name.endswith(end)), ("", ""))
        if kind:
            changes[layer] = KINDS[kind](tensors, name, tensor)
        elif not name.endswith((".lora_B.weight", ".diff_b")) and name not in ("key", "metric", "gate"):
            raise ValueError(f"{name!r} is no part of an adapter that wordmint writes")
    return changes


def low_rank(tensors: Mapping[str, Any], name: str, down: Any) -> Callable[[Any, Any], Any]:
    """Return a LoRA's change, also of a convolution."""
    from torch.nn import functional

    up = tensors[name.replace("lora_A", "lora_B")]

    def change(module: Any, rows: Any) -> Any:
        first, second = down.to(rows), up.to(rows)
        if down.dim() == 4:
            return functional.conv2d(functional.conv2d(rows, first, None, module.stride, module.padding, module.dilation), second)
        return functional.linear(functional.linear(rows, first), second)

    return change


def difference(tensors: Mapping[str, Any], name: str, weight: Any) -> Callable[[Any, Any], Any]:
    """Return the change by a difference of a layer's weights; all such layers are linear in their weights."""
    from torch import nn
    from torch.nn import functional

    bias = tensors.get(f"{name}_b")

    def change(module: Any, rows: Any) -> Any:
        own, added = weight.to(rows), None if bias is None else bias.to(rows)
        if isinstance(module, nn.GroupNorm):
            return functional.group_norm(rows, module.num_groups, own, added, module.eps)
        if isinstance(module, nn.LayerNorm):
            return functional.layer_norm(rows, module.normalized_shape, own, added, module.eps)
        if isinstance(module, nn.Conv2d):
            return functional.conv2d(rows, own, added, module.stride, module.padding, module.dilation)
        return functional.linear(rows, own, added)

    return change


def gated(tensors: Mapping[str, Any], name: str, output: Any) -> Callable[[Any, Any], Any]:
    """Return a gated rank-one change of a layer that reads the text."""

    def change(module: Any, rows: Any) -> Any:
        key, metric, gate, own = (tensor.to(rows) for tensor in (tensors["key"], tensors["metric"], tensors["gate"], output))
        share = (rows @ metric)[..., None]
        return ((share - gate[0]) / gate[1]).sigmoid() * own - share * (module.weight.to(rows) @ key)

    return change


KINDS = {".lora_A.weight": low_rank, ".diff": difference, ".gate.output": gated}
"""How a tensor's name ends -> the kind of change."""


class Adapter:
    """A word's changes of the denoiser. They act where the plain prediction attends to the word; prompts without the word are unchanged."""

    def __init__(self, denoiser: Any, tensors: Mapping[str, Any]) -> None:
        self.strength, self.tokens, self.first, self.row, self.maps = 0.0, [False], 0, 0, list[Any]()
        self.acts, self.alternates, self.passes = False, False, 0  # alternates: every second pass is that of no prompt
        for layer, change in changes_in(tensors).items():
            denoiser.get_submodule(layer).register_forward_hook(self.hook(change))
        for module in reading_text(denoiser):
            module.register_forward_hook(self.watch, with_kwargs=True)
        self.forward, denoiser.forward = denoiser.forward, self.predict

    def hook(self, change: Callable[[Any, Any], Any]) -> Callable[..., Any]:
        """Return the hook that adds a change to the rows of a layer's output from `first` on."""

        def add(module: Any, inputs: tuple[Any, ...], output: Any) -> Any:
            if self.acts:
                output[self.first :] += (self.strength * change(module, inputs[0][self.first :])).to(output)
            return output

        return add

    def watch(self, attention: Any, inputs: tuple[Any, ...], keywords: Mapping[str, Any], output: Any) -> None:
        """Keep how much each place of the plain row with the word attends to it."""
        from torch.nn import functional

        if not self.acts:
            return
        hidden, text = (inputs[0] if inputs else keywords["hidden_states"])[self.row], keywords["encoder_hidden_states"][self.row]
        joint = getattr(attention, "add_k_proj", None) is not None
        to_k = attention.add_k_proj if joint else attention.to_k
        queries = functional.linear(hidden, attention.to_q.weight, attention.to_q.bias).unflatten(1, (attention.heads, -1))
        keys = functional.linear(text, to_k.weight, to_k.bias).unflatten(1, (attention.heads, -1))
        if joint and attention.norm_q is not None:
            queries, keys = attention.norm_q(queries), attention.norm_added_k(keys)
        if keywords.get("image_rotary_emb") is not None:
            from diffusers.models.embeddings import apply_rotary_emb

            turn = tuple(part[len(text) :] for part in keywords["image_rotary_emb"])
            queries = apply_rotary_emb(queries[None], turn, sequence_dim=1)[0]
        scale = queries.shape[-1] ** -0.5 if joint else attention.scale
        attended = (queries.transpose(0, 1) @ keys.permute(1, 2, 0) * scale).softmax(dim=2).mean(dim=0)
        own = (self.tokens + [False] * len(text))[: len(text)]
        self.maps.append(attended[:, hidden.new_tensor(own).bool()].sum(dim=1))

    def place(self, height: int, width: int) -> Any:
        """Return a mask from 0 to 1 (height, width); a place with at least half of the highest attention belongs wholly to the word.

        It is 1 where the denoiser has no layer that reads the text as a sequence of its own.
        """
        from torch.nn import functional

        if not self.maps:
            return 1.0
        finest = max(len(attended) for attended in self.maps)
        mean = sum(attended for attended in self.maps if len(attended) == finest)
        rows = round((finest * height / width) ** 0.5)
        share = (mean - mean.min()) / (mean.max() - mean.min()).clamp(min=1e-12) * 2
        return functional.interpolate(share.clamp(max=1).view(1, 1, rows, finest // rows), size=(height, width), mode="bilinear")[0, 0]

    def local(self, plain: Any, changed: Any) -> Any:
        """Return a picture's plain prediction with the change where the word is; FLUX packs patches of 2 x 2 latents into tokens."""
        from torch.nn import functional

        if plain.dim() != 2:
            return plain + self.place(*plain.shape[-2:]) * (changed - plain)
        side = 2 * round(len(plain) ** 0.5)
        difference = functional.pixel_shuffle((changed - plain).T.unflatten(1, (side // 2, side // 2)), 2)
        return plain + functional.pixel_unshuffle(self.place(side, side) * difference, 2).flatten(1).T

    def predict(self, *inputs: Any, return_dict: bool = True, **keywords: Any) -> Any:
        """Predict as the denoiser does, and once more for the row with the word with the change on."""
        import torch
        from diffusers.models.modeling_outputs import Transformer2DModelOutput

        self.passes += 1
        self.acts = bool(self.strength) and not (self.alternates and self.passes % 2 == 0)
        if not self.acts:
            return self.forward(*inputs, return_dict=return_dict, **keywords)
        pictures = inputs[0] if inputs else keywords["hidden_states"]
        self.first, self.maps = len(pictures), []
        self.row = 0 if isinstance(pictures, list) else len(pictures) - 1  # Z-Image's pipeline has the prompt before no prompt

        def again(value: Any) -> Any:
            """Repeat the row of the prompt at the end."""
            if isinstance(value, Mapping):
                return {name: again(part) for name, part in value.items()}
            if isinstance(value, list) and len(value) == self.first:
                return [*value, value[self.row]]
            whole = isinstance(value, torch.Tensor) and value.dim() and len(value) == self.first
            return torch.cat([value, value[self.row : self.row + 1]]) if whole else value

        repeated = {name: value if name in ("img_ids", "txt_ids") else again(value) for name, value in keywords.items()}
        *plain, changed = self.forward(*map(again, inputs), return_dict=False, **repeated)[0]
        plain[self.row] = self.local(plain[self.row], changed)
        prediction = plain if isinstance(pictures, list) else torch.stack(plain)
        return Transformer2DModelOutput(sample=prediction) if return_dict else (prediction,)


def extend(pipeline: Any, path: str, placeholder: str) -> None:
    """Let each cross-attention layer read a word's own rows for it; `path` is the file of the word, which the pipeline knows already."""
    from safetensors import safe_open
    from safetensors.torch import load_file

    with safe_open(path, "pt") as file:
        layers = int((file.metadata() or {}).get("layers", 1))
    if layers == 1:
        return
    tensors = load_file(path)
    encoders = [getattr(pipeline, name) for name in ("bert", "text_encoder", "text_encoder_2") if getattr(pipeline, name, None) is not None]
    rows = [tensors[name].unflatten(1, (layers, -1)) for name in (("clip_l", "clip_g") if "clip_l" in tensors else (placeholder,))]
    names = [placeholder, *(f"{placeholder}_{index}" for index in range(1, len(rows[0])))]
    ids = pipeline.tokenizer.convert_tokens_to_ids(names)
    for encoder, part in zip(encoders, rows, strict=True):
        encode_for_each_layer(encoder, part, ids)
    widths = [part.shape[2] for part in rows]
    for number, layer in enumerate(cross_attentions(denoiser_of(pipeline))):
        layer.register_forward_pre_hook(own_text(number, layers, widths), with_kwargs=True)
    if denoiser_of(pipeline).config.addition_embed_type == "text":
        denoiser_of(pipeline).add_embedding.register_forward_pre_hook(lambda module, inputs: inputs[0].unflatten(-1, (layers, -1)).mean(dim=-2))


def encode_for_each_layer(encoder: Any, rows: Any, ids: Sequence[int]) -> None:
    """Let a text encoder return the texts of all layers end to end, and the mean of what it pools. rows: (vectors, layers, dim)."""
    import torch

    table, forward = encoder.get_input_embeddings(), encoder.forward

    def forward_for_each(*inputs: Any, **keywords: Any) -> Any:
        outputs = []
        for own in rows.unbind(dim=1):
            with torch.no_grad():
                table.weight[list(ids)] = own.to(table.weight)
            outputs.append(forward(*inputs, **keywords))
        for key, value in outputs[0].items():
            if key == "hidden_states":
                outputs[0][key] = tuple(torch.cat(states, dim=-1) for states in zip(*(output[key] for output in outputs), strict=True))
            elif key == "last_hidden_state":
                outputs[0][key] = torch.cat([output[key] for output in outputs], dim=-1)
            elif isinstance(value, torch.Tensor):
                outputs[0][key] = torch.stack([output[key] for output in outputs]).mean(dim=0)
        return outputs[0]

    encoder.forward = forward_for_each


def own_text(number: int, layers: int, widths: Sequence[int]) -> Callable[..., Any]:
    """Return the hook by which a layer reads its part of each text encoder's texts."""
    import torch

    def narrow(module: Any, inputs: tuple[Any, ...], keywords: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        parts = keywords["encoder_hidden_states"].split([layers * width for width in widths], dim=-1)
        own = [part[..., number * width : (number + 1) * width] for part, width in zip(parts, widths, strict=True)]
        return inputs, {**keywords, "encoder_hidden_states": torch.cat(own, dim=-1)}

    return narrow
