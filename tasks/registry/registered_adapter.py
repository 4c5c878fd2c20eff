"""The changes of a registered concept's denoiser as MLflow loads them: this file is copied into versions, so it imports nothing from wordmint."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def cross_attentions(unet: Any) -> list[Any]:
    """Return the cross-attention layers in the order in which a picture goes through them."""
    blocks = ("down_blocks", "mid_block", "up_blocks")
    names = [name for name, _ in unet.named_modules() if name.rpartition(".")[2] == "attn2"]
    return [unet.get_submodule(name) for name in sorted(names, key=lambda name: blocks.index(name.partition(".")[0]))]


def changes_in(tensors: Mapping[str, Any]) -> dict[str, Callable[[Any, Any], Any]]:
    """Return layer -> function of the layer and its inputs that gives what is added to its output.

    Raises:
        ValueError: a tensor is of no known kind.
    """
    changes = {}
    for name, tensor in tensors.items():
        layer, kind = next(((name.removeprefix("unet.").removesuffix(end), end) for end in KINDS if name.endswith(end)), ("", ""))
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

    def __init__(self, unet: Any, tensors: Mapping[str, Any]) -> None:
        self.strength, self.tokens, self.first, self.maps = 0.0, [False], 0, list[Any]()
        for layer, change in changes_in(tensors).items():
            unet.get_submodule(layer).register_forward_hook(self.hook(change))
        for module in cross_attentions(unet):
            module.register_forward_hook(self.watch, with_kwargs=True)
        self.forward, unet.forward = unet.forward, self.predict

    def hook(self, change: Callable[[Any, Any], Any]) -> Callable[..., Any]:
        """Return the hook that adds a change to the rows of a layer's output from `first` on."""

        def add(module: Any, inputs: tuple[Any, ...], output: Any) -> Any:
            if self.strength:
                output[self.first :] += (self.strength * change(module, inputs[0][self.first :])).to(output)
            return output

        return add

    def watch(self, attention: Any, inputs: tuple[Any, ...], keywords: Mapping[str, Any], output: Any) -> None:
        """Keep how much each place of the last plain row attends to the word."""
        from torch.nn import functional

        if self.strength:
            hidden, text = inputs[0][self.first - 1], keywords["encoder_hidden_states"][self.first - 1]
            queries = functional.linear(hidden, attention.to_q.weight, attention.to_q.bias).unflatten(1, (attention.heads, -1)).transpose(0, 1)
            keys = functional.linear(text, attention.to_k.weight, attention.to_k.bias).unflatten(1, (attention.heads, -1)).transpose(0, 1)
            attended = (queries @ keys.transpose(1, 2) * attention.scale).softmax(dim=2).mean(dim=0)
            own = (self.tokens + [False] * len(text))[: len(text)]
            self.maps.append(attended[:, hidden.new_tensor(own).bool()].sum(dim=1))

    def place(self, height: int, width: int) -> Any:
        """Return a mask from 0 to 1 (height, width); a place with at least half of the highest attention belongs wholly to the word."""
        from torch.nn import functional

        finest = max(len(attended) for attended in self.maps)
        mean = sum(attended for attended in self.maps if len(attended) == finest)
        shrunk = round((height * width / finest) ** 0.5)
        share = (mean - mean.min()) / (mean.max() - mean.min()).clamp(min=1e-12) * 2
        return functional.interpolate(share.clamp(max=1).view(1, 1, height // shrunk, width // shrunk), size=(height, width), mode="bilinear")[0, 0]

    def predict(self, sample: Any, timestep: Any, encoder_hidden_states: Any, *rest: Any, return_dict: bool = True, **keywords: Any) -> Any:
        """Predict the noise as the denoiser does, and once more for the last row with the change on."""
        import torch
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput

        if not self.strength:
            return self.forward(sample, timestep, encoder_hidden_states, *rest, return_dict=return_dict, **keywords)
        self.first, self.maps = len(sample), []
        if added := keywords.get("added_cond_kwargs"):
            keywords["added_cond_kwargs"] = {name: torch.cat([value, value[-1:]]) for name, value in added.items()}
        sample, text = torch.cat([sample, sample[-1:]]), torch.cat([encoder_hidden_states, encoder_hidden_states[-1:]])
        *plain, changed = self.forward(sample, timestep, text, *rest, return_dict=False, **keywords)[0]
        plain[-1] = plain[-1] + self.place(*sample.shape[2:]) * (changed - plain[-1])
        prediction = torch.stack(plain)
        return UNet2DConditionOutput(sample=prediction) if return_dict else (prediction,)


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
    for number, layer in enumerate(cross_attentions(pipeline.unet)):
        layer.register_forward_pre_hook(own_text(number, layers, widths), with_kwargs=True)
    if pipeline.unet.config.addition_embed_type == "text":
        pipeline.unet.add_embedding.register_forward_pre_hook(lambda module, inputs: inputs[0].unflatten(-1, (layers, -1)).mean(dim=-2))


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
