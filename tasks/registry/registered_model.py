"""A registered concept as MLflow loads it: this file is copied into every version, so it imports nothing from wordmint.

registered_adapter.py is copied beside it where the concept is more than one row for all layers of the denoiser.
"""

import hashlib
import io
import os
import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import mlflow
from mlflow.pyfunc import PythonModel


def weights_sha256(folder: Path) -> str:
    """Return the SHA-256 of a folder's *.safetensors files, concatenated in the order of their relative paths."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors"), key=lambda path: path.relative_to(folder).as_posix()):
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def find_base(config: dict[str, Any]) -> Path:
    """Return the base model's folder: $WORDMINT_BASE_MODEL, else the path as published, else the embedded model, else the hub's copy.

    Raises:
        FileNotFoundError: the base was a folder and is at none of these paths.
        ValueError: the weights are not those that the word was learned on.
    """
    override = os.environ.get("WORDMINT_BASE_MODEL")
    # A version from an older release has base_location, the folder's path on the machine that published it.
    places = [override] if override else [config["base_model"], *embedded(config["base_model"]), config.get("base_location")]
    folder = next((Path(place) for place in places if place and Path(place).is_dir()), None)
    if folder is None:
        if override or config.get("base_is_folder", config.get("base_location")):
            tried = ", ".join(str(Path(place).absolute()) for place in places if place)
            raise FileNotFoundError(f"the base model is not at {tried}; set WORDMINT_BASE_MODEL to its folder")
        from diffusers import DiffusionPipeline

        folder = Path(DiffusionPipeline.download(config["base_model"], revision=config["base_revision"], use_safetensors=True))
        if config["base_revision"]:
            return folder  # a commit names its content; hashing gigabytes again would prove nothing more
    found, recorded = weights_sha256(folder), config["base_weights_sha256"]
    if found != recorded:
        raise ValueError(
            f"the weights in {folder} have SHA-256 {found}, but {config['placeholder_token']} was learned on {recorded}; "
            "set WORDMINT_BASE_MODEL to the folder with those weights"
        )
    return folder


def embedded(model: str) -> list[str]:
    """Return the paths at which an installed wordmint may have the embedded model of this name."""
    try:
        found = find_spec("tasks.shipped")
    except (ImportError, ValueError):
        return []
    roots = [Path(place) for place in (found.submodule_search_locations or [])] if found else []
    return [str(folder / "data" / "base" / model) for root in roots for folder in (root, root.parents[1])]


def module_of(path: str) -> Any:
    """Return the module in a file. It is not kept by name, since another version has another file of the name."""
    spec = spec_from_file_location(Path(path).stem, path)
    assert spec and spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def teach(pipeline: Any, path: str, placeholder: str) -> Callable[[str], str]:
    """Add the word to a pipeline and return the function that rewrites a prompt for it."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import load_file

    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        layers = int((file.metadata() or {}).get("layers", 1))
    # A word with rows for each cross-attention layer starts as their mean, and is extended later.
    tensors = {name: rows.unflatten(1, (layers, -1)).mean(dim=1) for name, rows in tensors.items()}
    if "clip_l" in tensors:  # SDXL: a word of two text encoders
        pipeline.load_textual_inversion(tensors["clip_l"], token=placeholder, text_encoder=pipeline.text_encoder, tokenizer=pipeline.tokenizer)
        pipeline.load_textual_inversion(tensors["clip_g"], token=placeholder, text_encoder=pipeline.text_encoder_2, tokenizer=pipeline.tokenizer_2)
        # SDXL's config gives the end token id 2, so transformers pools at the greatest id: the word's, and the text after it would be lost.
        pipeline.text_encoder_2.text_model.eos_token_id = pipeline.tokenizer_2.eos_token_id
        return str
    if hasattr(pipeline, "load_textual_inversion"):
        pipeline.load_textual_inversion(tensors, token=placeholder)
        return str
    # The paper's latent diffusion, whose pipeline cannot load new words: the rows are appended to its embedding table.
    rows, table = tensors[placeholder], pipeline.bert.get_input_embeddings()
    names = [placeholder, *(f"{placeholder}_{index}" for index in range(1, len(rows)))]
    pipeline.tokenizer.add_tokens(names)
    pipeline.bert.model.embed_tokens = torch.nn.Embedding.from_pretrained(torch.cat([table.weight.detach(), rows]))
    return lambda prompt: prompt.replace(placeholder, " ".join(names))


STRENGTH = re.compile(r"<([^<>\s:]+):([0-9]*\.?[0-9]+)>")
"""`<fox:0.7>` is the word `<fox>`, whose adapter acts with 0.7 of its change."""


class Concept(PythonModel):
    """A learned word and the frozen text-to-image model that it belongs to."""

    _skip_type_hint_validation = True  # type hints would replace the signature and its params; without them MLflow warns

    def load_context(self, context: Any) -> None:
        import torch
        from diffusers import DDIMScheduler, DiffusionPipeline
        from safetensors.torch import load_file

        # Without use_safetensors, weights in another format could be read, which the hash does not cover.
        folder = find_base(context.model_config)
        unused = {"safety_checker": None, "requires_safety_checker": False} if "safety_checker" in DiffusionPipeline.load_config(folder) else {}
        pipeline = DiffusionPipeline.from_pretrained(folder, **unused, use_safetensors=True)
        pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False, thresholding=False)
        self.defaults = defaults_of(context.model_config)
        placeholder = context.model_config["placeholder_token"]
        self.expand = teach(pipeline, context.artifacts["learned_embeds"], placeholder)
        self.adapter = None
        if "registered_adapter" in context.artifacts:
            tuned = module_of(context.artifacts["registered_adapter"])
            changes = context.artifacts.get("pytorch_lora_weights") or context.artifacts.get("denoiser_changes")
            self.adapter = tuned.Adapter(pipeline.unet, load_file(changes)) if changes else None
            tuned.extend(pipeline, context.artifacts["learned_embeds"], placeholder)
        added = pipeline.tokenizer.get_added_vocab()
        self.names = [placeholder, *(name for name in added if name.startswith(f"{placeholder}_"))]
        pipeline.set_progress_bar_config(disable=True)
        self.pipeline = pipeline.to("cuda" if torch.cuda.is_available() else "cpu")

    def predict(self, model_input, params=None):
        """Return one PNG file as bytes per prompt; the picture of prompt i depends on its words and on seed + i alone.

        model_input: a list of prompts, or a table whose column `prompt`, or first column, holds them.
        params: seed, num_inference_steps, guidance_scale (1 is the plain conditional prediction).
        """
        import torch

        params = {**self.defaults, **(params or {})}
        pictures = []
        for index, prompt in enumerate(prompts_of(model_input)):
            text = self.expand(STRENGTH.sub(r"<\1>", prompt))
            strengths = {f"<{name}>": float(value) for name, value in STRENGTH.findall(prompt)}
            if strengths.keys() - (set(self.names[:1]) if self.adapter else set()):
                raise ValueError(
                    f"{prompt!r} sets a strength, which only {self.names[0]} could have, if it changed the denoiser; write the word alone"
                )
            if self.adapter:
                self.adapter.tokens = self.tokens_of(text)
                self.adapter.strength = strengths.get(self.names[0], 1.0) if any(self.adapter.tokens) else 0.0
            image = self.pipeline(
                text,
                num_inference_steps=params["num_inference_steps"],
                guidance_scale=params["guidance_scale"],
                generator=torch.Generator("cpu").manual_seed(params["seed"] + index),
            ).images[0]
            buffer = io.BytesIO()
            image.save(buffer, format="PNG")
            pictures.append(buffer.getvalue())
        return pictures

    def tokens_of(self, text: str) -> list[bool]:
        """Tell which tokens of a prompt are the word's."""
        tokenizer = self.pipeline.tokenizer
        if hasattr(self.pipeline, "maybe_convert_prompt"):
            text = self.pipeline.maybe_convert_prompt(text, tokenizer)
        ids = tokenizer(text).input_ids
        own = set(tokenizer.convert_tokens_to_ids(self.names))
        return [number in own for number in ids]


DEFAULTS = {"seed": 0, "num_inference_steps": 50, "guidance_scale": 4.0}  # for versions from a release that did not record them


def defaults_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the default parameters of a prediction: those that the version was sampled with."""
    return {name: type(value)(config.get(name, value)) for name, value in DEFAULTS.items()}


def prompts_of(model_input: Any) -> list[str]:
    if hasattr(model_input, "columns"):
        model_input = model_input["prompt" if "prompt" in model_input.columns else model_input.columns[0]]
    return [str(prompt) for prompt in model_input]


mlflow.models.set_model(Concept())
