"""Layouts of a LoRA's file: what is written is read again, and diffusers reads it too."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxTransformer2DModel, StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from diffusers.loaders.lora_conversion_utils import _convert_kohya_flux_lora_to_diffusers, _convert_non_diffusers_lora_to_diffusers
from safetensors import safe_open
from safetensors.torch import save, save_file
from torch import Tensor, nn

from tasks.diffusion.base_model import BaseModel
from tasks.diffusion.changes import TRANSFORMER, Change, Difference, Gated, LowRank, layers_of
from tasks.using.export import check_layouts
from tasks.words.adapter_file import LAYOUTS, adapter_bytes, from_kohya, from_peft, read_adapter, read_changes, stored, to_kohya, to_peft
from tasks.words.formats import WordFile
from tasks.words.joined_layers import TABLES, joined_layers
from tests.support.tiny import plain_pipeline, save_tiny_pipeline


@pytest.fixture
def changes(base: BaseModel) -> dict[str, LowRank]:
    generator = torch.Generator().manual_seed(0)
    return {
        layer: LowRank(torch.randn(2, *module.weight.shape[1:], generator=generator), torch.randn(len(module.weight), 2, generator=generator))
        for layer, module in layers_of(base.denoiser, "convolutions").items()
    }


def same(one: dict[str, LowRank], other: dict[str, LowRank]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(a, b) for layer in one for a, b in zip(one[layer], other[layer], strict=True))


def test_a_round_trip_changes_nothing(base: BaseModel, changes: dict[str, LowRank]) -> None:
    assert same(from_peft(to_peft(changes)), changes)
    assert same(from_kohya(to_kohya(changes), dict(base.denoiser.named_modules())), changes)


def test_diffusers_older_layout_is_read(changes: dict[str, LowRank]) -> None:
    older = {name.replace("lora_A", "lora.down").replace("lora_B", "lora.up"): value for name, value in to_peft(changes).items()}
    assert same(from_peft(older), changes)


def test_an_alpha_other_than_the_rank_scales_the_change(base: BaseModel, changes: dict[str, LowRank]) -> None:
    tensors = {name: value / 4 if name.endswith(".alpha") else value for name, value in to_kohya(changes).items()}
    found = from_kohya(tensors, dict(base.denoiser.named_modules()))
    for layer, (down, up) in changes.items():
        assert torch.equal(found[layer].down, down)
        torch.testing.assert_close(found[layer].up, up / 4)


def test_diffusers_reads_kohyas_layout(changes: dict[str, LowRank], tiny_base_folder: Path) -> None:
    attention = {layer: change for layer, change in changes.items() if ".attn" in layer}
    converted, _ = _convert_non_diffusers_lora_to_diffusers(to_kohya(attention))
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_base_folder, safety_checker=None)
    pipeline.load_lora_weights(converted)
    loaded: dict[str, Tensor] = {name: value for name, value in pipeline.unet.state_dict().items() if "lora_A" in name or "lora_B" in name}
    assert len(loaded) == 2 * len(attention)
    for layer, (down, up) in attention.items():
        assert torch.equal(loaded[f"{layer}.lora_A.default_0.weight"], down)
        assert torch.equal(loaded[f"{layer}.lora_B.default_0.weight"], up)


@pytest.mark.parametrize("style", LAYOUTS)
def test_an_exported_file_is_read_back_and_says_its_rank(base: BaseModel, changes: dict[str, LowRank], style: str, tmp_path: Path) -> None:
    path = tmp_path / "lora.safetensors"
    path.write_bytes(adapter_bytes(changes, style))
    assert same(read_adapter(path, base.denoiser, "<fox>"), changes)
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["ss_network_dim"]) == 2


@pytest.mark.parametrize("damage", [b"", b"a pickle", b"PK\x03\x04"])
def test_another_file_is_refused(base: BaseModel, damage: bytes, tmp_path: Path) -> None:
    path = tmp_path / "lora.safetensors"
    path.write_bytes(damage)
    with pytest.raises(ValueError, match=r"is not a safetensors file that can be read .*; a LoRA in a pickle is not loaded"):
        read_adapter(path, base.denoiser, "<fox>")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"lora_down.weight": torch.ones(0, 32)}, "give no change of a layer"),
        ({"lora_down.weight": torch.ones(3, 32)}, "give no change of a layer"),
        ({"lora_up.weight": torch.ones(())}, "give no change of a layer"),
        ({"lora_up.weight": torch.ones(32, 2, 3, 3)}, "give no change of a layer"),
        ({"alpha": torch.ones(2)}, "it is one number"),
    ],
)
def test_factors_that_do_not_fit_each_other_are_refused(base: BaseModel, tmp_path: Path, changed: dict[str, Tensor], message: str) -> None:
    parts = {"lora_down.weight": torch.ones(2, 32), "lora_up.weight": torch.ones(32, 2), "alpha": torch.ones(1)} | changed
    path = tmp_path / "lora.safetensors"
    layer = next(name for name, _ in base.denoiser.named_modules() if name.endswith("to_q"))
    save_file({f"lora_unet_{layer.replace('.', '_')}.{part}": tensor for part, tensor in parts.items()}, path, {"lora_adapter_metadata": "[" * 9_999})
    with pytest.raises(ValueError, match=message):
        read_adapter(path, base.denoiser, "<fox>")


def test_numbers_that_are_not_finite_are_refused(base: BaseModel, changes: dict[str, LowRank], tmp_path: Path) -> None:
    next(iter(changes.values())).up[0, 0] = float("nan")
    path = tmp_path / "lora.safetensors"
    path.write_bytes(adapter_bytes(changes, "kohya"))
    with pytest.raises(ValueError, match="NaN or infinity, which give black pictures"):
        read_adapter(path, base.denoiser, "<fox>")


def test_every_kind_of_change_is_kept(base: BaseModel, changes: dict[str, LowRank]) -> None:
    (plain, first), (gated, second), (low, _), *_ = layers_of(base.denoiser, "attention").items()
    key, metric = torch.randn(2, second.weight.shape[1]).unbind()
    kept: dict[str, Change] = {
        plain: Difference(torch.randn(first.weight.shape).half().float(), None),
        f"{plain}.norm": Difference(torch.randn(4).half().float(), torch.randn(4).half().float()),
        gated: Gated(key, metric, torch.randn(len(second.weight)).half().float(), torch.tensor([0.75, 0.1])),
        low: changes[low],
    }
    again = read_changes(stored(kept))
    assert again.keys() == kept.keys()
    for layer, change in kept.items():
        assert type(again[layer]) is type(change)
        for one, other in zip(again[layer], change, strict=True):
            assert (one is None and other is None) or torch.equal(one, other)
    kohya = to_kohya({plain: kept[plain], low: kept[low]})
    assert kohya[f"lora_unet_{plain.replace('.', '_')}.diff"].dtype == torch.float16
    with pytest.raises(TypeError, match="which no pipeline of diffusers loads"):
        to_peft(kept)
    with pytest.raises(TypeError, match="which no tool has a layout for"):
        to_kohya(kept)


def test_perfusion_takes_less_than_100_kb_for_stable_diffusion() -> None:
    with torch.device("meta"):
        denoiser = UNet2DConditionModel(cross_attention_dim=768)  # the rest of diffusers' defaults is Stable Diffusion 1.5
    layers = {name: layer for name, layer in layers_of(denoiser, "cross_attention").items() if name.endswith((".to_k", ".to_v"))}
    assert len(layers) == 32
    changes = {name: Gated(torch.ones(768), torch.ones(768), torch.ones(len(layer.weight)), torch.ones(2)) for name, layer in layers.items()}
    assert len(save(stored(changes))) < 100_000


def sdxl_like() -> UNet2DConditionModel:
    """A random denoiser with the blocks of SDXL's, two residual blocks in each, and hardly a channel."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(8, 16, 16),
            layers_per_block=2,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=8,
            attention_head_dim=8,
            transformer_layers_per_block=(1, 2, 2),
            norm_num_groups=4,
            use_linear_projection=True,
        )


def test_kohyas_names_of_sdxl_are_those_that_diffusers_reads(tmp_path: Path) -> None:
    unet, generator = sdxl_like(), torch.Generator().manual_seed(0)
    changes = {
        layer: LowRank(torch.randn(2, *module.weight.shape[1:], generator=generator), torch.randn(len(module.weight), 2, generator=generator))
        for layer, module in layers_of(unet, "convolutions").items()
    }
    tensors = to_kohya(changes, "stable-diffusion-xl-v1-base")
    assert "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.lora_down.weight" in tensors
    assert not any("down_blocks" in name or "mid_block" in name or "up_blocks" in name for name in tensors)
    assert same(from_kohya(tensors, dict(unet.named_modules())), changes)
    pipeline = StableDiffusionXLPipeline.from_pretrained(save_tiny_pipeline(tmp_path, family="sdxl"), unet=unet)
    pipeline.load_lora_weights(tensors)
    loaded: dict[str, Tensor] = {name: value for name, value in unet.state_dict().items() if "lora_A" in name or "lora_B" in name}
    assert len(loaded) == 2 * len(changes)
    for layer, (down, up) in changes.items():
        assert torch.equal(loaded[f"{layer}.lora_A.default_0.weight"], down)
        assert torch.equal(loaded[f"{layer}.lora_B.default_0.weight"].flatten(1), up)


def of_a_transformer(transformer: nn.Module, targets: str, rank: int = 2) -> dict[str, LowRank]:
    generator = torch.Generator().manual_seed(0)
    return {
        layer: LowRank(torch.randn(rank, module.in_features, generator=generator), torch.randn(module.out_features, rank, generator=generator))
        for layer, module in layers_of(transformer, targets, TRANSFORMER).items()
    }


ARCHITECTURES = {"sd35": "stable-diffusion-3", "flux-dev": "flux-1-dev", "z-image": "z-image"}


@pytest.mark.parametrize("targets", ["attention", "linear"])
@pytest.mark.parametrize(("family", "architecture"), ARCHITECTURES.items())
def test_a_plain_pipeline_loads_the_lora_of_a_transformer(tmp_path: Path, family: str, architecture: str, targets: str) -> None:
    pipeline: Any = plain_pipeline(save_tiny_pipeline(tmp_path / family, family=family))
    changes = of_a_transformer(pipeline.transformer, targets)
    for style in ("diffusers", "comfyui", "kohya"):
        path = tmp_path / f"{style}.safetensors"
        path.write_bytes(adapter_bytes(changes, style, architecture))
        assert same(read_adapter(path, pipeline.transformer, "<fox>"), changes)
    pipeline.load_lora_weights(str(tmp_path / "diffusers.safetensors"), adapter_name="fox")
    layers = dict(pipeline.transformer.named_modules())
    for layer, (down, up) in changes.items():
        assert torch.equal(layers[layer].lora_A["fox"].weight, down) and torch.equal(layers[layer].lora_B["fox"].weight, up)
    with nullcontext() if family != "z-image" else pytest.raises(ValueError, match="fox changes a transformer that kohya's scripts do not know"):
        check_layouts("fox", WordFile(path, "<fox>", (), {"modelspec.architecture": architecture}), changes, "kohya")


def test_joined_layers_of_flux_have_kohyas_names_and_all_ranks(tmp_path: Path) -> None:
    pipeline: Any = plain_pipeline(save_tiny_pipeline(tmp_path, family="flux-dev"))
    changes = of_a_transformer(pipeline.transformer, "attention")
    tensors = to_kohya(changes, "flux-1-dev")
    down, up, alpha = (tensors[f"lora_unet_single_blocks_0_linear1.{part}"] for part in ("lora_down.weight", "lora_up.weight", "alpha"))
    width = down.shape[1]
    assert (len(down), tuple(up.shape), float(alpha)) == (6, (3 * width + 4 * width, 6), 6.0)
    assert not up[3 * width :].any()  # proj_mlp is not among the layers
    assert "lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight" in tensors


@pytest.mark.parametrize("targets", ["attention", "linear"])
def test_diffusers_reads_kohyas_layout_of_flux(targets: str) -> None:
    """At FLUX.1's own width, which diffusers takes for granted."""
    with torch.device("meta"):
        transformer = FluxTransformer2DModel(num_layers=1, num_single_layers=1)
    changes = of_a_transformer(transformer, targets)
    converted = _convert_kohya_flux_lora_to_diffusers(to_kohya(changes, "flux-1-dev"))
    generator = torch.Generator().manual_seed(1)
    for layer, (down, up) in changes.items():
        loaded = [converted.pop(f"transformer.{layer}.lora_{letter}.weight") for letter in "AB"]
        columns = torch.randn(down.shape[1], 1, generator=generator)
        torch.testing.assert_close(loaded[1] @ (loaded[0] @ columns), up @ (down @ columns), rtol=1e-4, atol=1e-3)
    assert not any(factor.any() for name, factor in converted.items() if "lora_B" in name)  # layers that have no change


@pytest.mark.parametrize(("family", "layer"), [("flux-dev", "double_blocks_0_img_attn_qkv"), ("sd35", "joint_blocks_1_x_block_attn_qkv")])
def test_a_joined_change_of_another_tool_is_taken_apart(tmp_path: Path, family: str, layer: str) -> None:
    """Other tools' ranks act on queries, keys and values at once."""
    transformer = plain_pipeline(save_tiny_pipeline(tmp_path / family, family=family)).transformer
    generator, modules = torch.Generator().manual_seed(0), dict(transformer.named_modules())
    joined = next(each for start in TABLES for each in joined_layers(start, modules) if each.name == layer)
    width = modules[joined.members[0]].in_features
    down, up = torch.randn(2, width, generator=generator), torch.randn(3 * width, 2, generator=generator)
    tensors = {f"lora_unet_{layer}.lora_down.weight": down, f"lora_unet_{layer}.lora_up.weight": up, f"lora_unet_{layer}.alpha": torch.tensor(1.0)}
    found = from_kohya(tensors, modules)
    assert list(found) == sorted(joined.members)
    torch.testing.assert_close(torch.cat([found[member].up @ found[member].down for member in joined.members]), up @ down / 2)
    tensors[f"lora_unet_{layer}.lora_up.weight"] = up[1:]
    with pytest.raises(ValueError, match=rf"has {3 * width - 1} rows for {layer}, and this denoiser has {3 * width} there"):
        from_kohya(tensors, modules)
