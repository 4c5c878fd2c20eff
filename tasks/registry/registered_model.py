"""A registered concept as MLflow loads it: this file is copied into every version, so it imports nothing from wordmint.

registered_adapter.py is copied beside it where the concept is more than one row for all layers of the denoiser.
"""

import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import mlflow
from mlflow.pyfunc import PythonModel


def weights_sha256(folder: Path) -> str:
    """Return the SHA-256 of a folder's *.safetensors, in the order of their relative paths; of a pipeline's folder those that diffusers loads."""
    digest, index = hashlib.sha256(), folder / "model_index.json"
    parts = json.loads(index.read_text(encoding="utf-8")) if index.exists() else None
    for path in sorted(folder.rglob("*.safetensors"), key=lambda path: path.relative_to(folder).as_posix()):
        if parts is not None and (path.relative_to(folder).parts[0] not in parts or "." in path.stem):
            continue
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
    for key, (tokenizer, encoder) in text_encoders(pipeline).items():
        rows = tensors[key if len(tensors) > 1 else placeholder]
        names = [placeholder, *(f"{placeholder}_{index}" for index in range(1, len(rows)))]
        if hasattr(pipeline, "load_textual_inversion") and key != "t5xxl":  # whose table has room for new words
            pipeline.load_textual_inversion(rows, token=placeholder, text_encoder=encoder, tokenizer=tokenizer)
        elif key == "bert":
            tokenizer.add_tokens(names)
            table = encoder.get_input_embeddings()
            encoder.model.embed_tokens = torch.nn.Embedding.from_pretrained(torch.cat([table.weight.detach(), rows]))
        else:
            tokenizer.add_tokens(names)
            if len(tokenizer) > encoder.get_input_embeddings().num_embeddings:
                encoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
            table = encoder.get_input_embeddings().weight
            with torch.no_grad():
                table[tokenizer.convert_tokens_to_ids(names)] = rows.to(table)
        for module in encoder.modules():
            # CLIP's config may give the end token id 2, so transformers pools at the greatest id: the word's, and the text after it would be lost.
            if key.startswith("clip") and hasattr(module, "eos_token_id"):
                module.eos_token_id = tokenizer.eos_token_id
    if hasattr(pipeline, "maybe_convert_prompt"):
        return str
    return lambda prompt: prompt.replace(placeholder, " ".join(names))


def text_encoders(pipeline: Any) -> dict[str, tuple[Any, Any]]:
    """Return the key of each text encoder in the file of a word -> its tokenizer and itself, in the order of a word's parts."""
    if getattr(pipeline, "bert", None) is not None:
        return {"bert": (pipeline.tokenizer, pipeline.bert)}
    pairs = [(getattr(pipeline, f"tokenizer{number}", None), getattr(pipeline, f"text_encoder{number}", None)) for number in ("", "_2", "_3")]
    keys, found = {"CLIP": ["clip_l", "clip_g"], "T5En": ["t5xxl"], "Qwen": ["qwen3"]}, {}
    for tokenizer, encoder in pairs:
        if encoder is not None:
            found[keys[type(encoder).__name__[:4]].pop(0)] = (tokenizer, encoder)
    return found


def left_out(index: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments by which a pipeline is loaded without its safety checker, and without a T5 that its folder lacks."""
    unused = {"safety_checker": None, "requires_safety_checker": False} if "safety_checker" in index else {}
    third = ("text_encoder_3", "tokenizer_3") if index["_class_name"] == "StableDiffusion3Pipeline" else ()
    return unused | {name: None for name in third if not index.get(name, [None])[0]}


def as_called(pipeline: Any, guidance_scale: float, resolution: int | None) -> dict[str, Any]:
    """Return the arguments by which a pipeline draws with a guidance scale of which 1 is the plain conditional prediction."""
    kind = type(pipeline).__name__
    if kind in ("ZImagePipeline", "FluxPipeline"):  # draw 1024 px by default, whatever the model was trained on
        resolution = resolution or pipeline.vae.config.sample_size
    side = {"height": resolution, "width": resolution} if resolution else {}
    if kind == "ZImagePipeline":  # counts guidance from 0
        return {**side, "guidance_scale": guidance_scale - 1}
    if kind == "FluxPipeline" and not pipeline.transformer.config.guidance_embeds:  # schnell, which was trained on short prompts
        return {**side, "true_cfg_scale": guidance_scale, "negative_prompt": "", "max_sequence_length": 256}
    return {**side, "guidance_scale": guidance_scale}


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
        index = DiffusionPipeline.load_config(folder)
        kind = torch.bfloat16 if "transformer" in index and torch.cuda.is_available() else torch.float32  # transformers have billions of weights
        arguments = left_out(index) | {"use_safetensors": True, "dtype": kind, "low_cpu_mem_usage": find_spec("accelerate") is not None}
        pipeline = DiffusionPipeline.from_pretrained(folder, **arguments)
        if hasattr(pipeline, "unet"):  # a transformer of rectified flow keeps its own sampler
            pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False, thresholding=False)
        self.resolution = context.model_config.get("resolution")
        self.defaults = defaults_of(context.model_config)
        placeholder = context.model_config["placeholder_token"]
        self.expand = teach(pipeline, context.artifacts["learned_embeds"], placeholder)
        self.adapter = None
        if "registered_adapter" in context.artifacts:
            tuned = module_of(context.artifacts["registered_adapter"])
            changes = context.artifacts.get("pytorch_lora_weights") or context.artifacts.get("denoiser_changes")
            self.adapter = tuned.Adapter(tuned.denoiser_of(pipeline), load_file(changes)) if changes else None
            tuned.extend(pipeline, context.artifacts["learned_embeds"], placeholder)
        added = pipeline.tokenizer.get_added_vocab()
        self.names = [placeholder, *(name for name in added if name.startswith(f"{placeholder}_"))]
        pipeline.set_progress_bar_config(disable=True)
        self.pipeline = pipeline.to("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")

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
            look = as_called(self.pipeline, params["guidance_scale"], self.resolution)
            if self.adapter:
                self.adapter.alternates, self.adapter.passes = look.get("true_cfg_scale", 1) != 1, 0
                self.adapter.tokens = self.tokens_of(text)
                self.adapter.strength = strengths.get(self.names[0], 1.0) if any(self.adapter.tokens) else 0.0
            image = self.pipeline(
                text,
                num_inference_steps=params["num_inference_steps"],
                **look,
                generator=torch.Generator("cpu").manual_seed(params["seed"] + index),
            ).images[0]
            buffer = io.BytesIO()
            image.save(buffer, format="PNG")
            pictures.append(buffer.getvalue())
        return pictures

    def tokens_of(self, text: str) -> list[bool]:
        """Tell which tokens that the denoiser reads are the word's."""
        found, tokens = text_encoders(self.pipeline), list[bool]()
        for key in READ_AFTER_ONE_ANOTHER.get(type(self.pipeline).__name__, tuple(found)[:1]):
            tokenizer = found[key][0] if key in found else None
            if tokenizer is None:
                continue
            written = self.pipeline.maybe_convert_prompt(text, tokenizer) if hasattr(self.pipeline, "maybe_convert_prompt") else text
            own, most = set(tokenizer.convert_tokens_to_ids(self.names)), tokenizer.model_max_length
            tokens += [number in own for number in tokenizer(written).input_ids[:most]]
            if key == "clip_l":  # the tokens of T5 come after CLIP's padding
                tokens += [False] * (min(most, 77) - len(tokens))
        return tokens


READ_AFTER_ONE_ANOTHER = {"StableDiffusion3Pipeline": ("clip_l", "t5xxl"), "FluxPipeline": ("t5xxl",)}
"""Class of a pipeline -> the keys of the text encoders whose tokens the denoiser reads, if these are not simply the first one's."""
DEFAULTS = {"seed": 0, "num_inference_steps": 50, "guidance_scale": 4.0}  # for versions from a release that did not record them


def defaults_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the default parameters of a prediction: those that the version was sampled with."""
    return {name: type(value)(config.get(name, value)) for name, value in DEFAULTS.items()}


def prompts_of(model_input: Any) -> list[str]:
    if hasattr(model_input, "columns"):
        model_input = model_input["prompt" if "prompt" in model_input.columns else model_input.columns[0]]
    return [str(prompt) for prompt in model_input]


mlflow.models.set_model(Concept())
