"""The files in which other tools keep a word: read without running what they may hold, written as each tool reads them.

Layouts of diffusers, AUTOMATIC1111's web UI, kohya's sd-scripts, ComfyUI and the sd-concepts-library; docs/formats.md shows them.
"""

import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import torch
from safetensors.torch import save
from torch import Tensor, nn

from tasks.words.content import MAX_BYTES, read_content
from tasks.words.embedding_file import PARTS, in_order, parts_in

LEARNED = ("learned_embeds.safetensors", "learned_embeds.bin")  # in a folder, in the order in which diffusers looks
NAMELESS = {"emb_params", "*", *PARTS}  # keys that do not name the word
ALIASES = {"t5": "t5xxl"}  # OneTrainer's name -> ComfyUI's
XTI = ("IN01", "IN02", "IN04", "IN05", "IN07", "IN08", "MID", *(f"OUT{number:02}" for number in range(3, 12)))
"""kohya's names of the 16 cross-attention layers of Stable Diffusion 1 and 2, in the order in which a picture goes through them."""


class WordFile(NamedTuple):
    """One word as a file has it."""

    path: Path
    """The file of the tensors, also where a folder was read."""
    token: str | None
    """The word as the file has it, such as `<teapot>` or `teapot`; None where only the file's name says it."""
    parts: tuple[Tensor, ...]
    """(vectors, dim) in float32 for each text encoder; (vectors, layers * dim) of an extended word."""
    metadata: dict[str, str]
    """The metadata of a safetensors file; empty for other files."""
    names: tuple[str, ...] = ()
    """The name of each part's tensor, where there are several."""

    @property
    def layers(self) -> int:
        """The number of cross-attention layers that have vectors of their own; 1 where all read the same."""
        return int(self.metadata.get("layers", 1))

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the word in a file of wordmint; empty for other files."""
        try:
            settings = json.loads(self.metadata.get("settings", "{}"))
        except (ValueError, RecursionError):
            return {}
        return settings if isinstance(settings, dict) else {}


def read_word(path: Path) -> WordFile:
    """Read a word from a file of any of the formats, or from a folder of the sd-concepts-library; the content decides, not the extension.

    Raises:
        ValueError: it holds no word or several, or vectors of another shape or type, or not finite.
    """
    folder = path if path.is_dir() else None
    if folder:
        files = [folder / name for name in LEARNED if (folder / name).is_file()]
        if not files:
            raise ValueError(f"{folder} has neither {' nor '.join(LEARNED)}; name the file itself")
        path = files[0]
    content, metadata = read_content(path)
    content = {ALIASES.get(name, name) if isinstance(name, str) else name: value for name, value in content.items()}
    metadata |= {"layers": str(len(XTI))} if set(content) == set(XTI) else {}
    token, tensors = word_of(content, path)
    identifier = folder / "token_identifier.txt" if folder else None
    if token is None and identifier and identifier.is_file():
        token = short_text(identifier)
    if not re.fullmatch(r"[1-9]\d{0,2}", metadata.get("layers", "1")):
        raise ValueError(f"{path} is a word for {metadata['layers']!r:.80} layers, which is no number of layers; the file is damaged")
    parts = tuple(checked(tensor, path) for tensor in tensors)
    if len({len(part) for part in parts}) > 1:
        raise ValueError(f"{path} has {' and '.join(str(len(part)) for part in parts)} vectors for its text encoders, which must be equally many")
    return WordFile(path, token or metadata.get("placeholder_token"), parts, metadata, tuple(parts_in(content)))


def short_text(path: Path) -> str:
    """Return the word or two that a text file beside a word holds."""
    return path.read_bytes()[:1000].decode(errors="replace").strip()


def word_of(content: Mapping[str, Any], path: Path) -> tuple[str | None, list[Any]]:
    """Return the word, or None where the file does not name it, and its vectors of each text encoder, unchecked.

    Raises:
        ValueError: the file holds no word or more than one.
    """
    if set(content) == set(XTI):
        return None, [torch.cat([checked(content[name], path) for name in XTI], dim=1)]
    if "string_to_param" in content:  # the layout of A1111 and of the paper's own code, where `name` is the word
        rows, name = content["string_to_param"], content.get("name")
        if isinstance(rows, nn.ParameterDict):
            rows = vars(rows).get("_parameters")  # PyTorch 1.11, which the paper's code uses, pickled nothing else
        rows = rows if isinstance(rows, dict) else {}
        if len(rows) == 1:
            return name if isinstance(name, str) else None, list(rows.values())
    else:
        rows = content
        if names := parts_in(rows):
            return None, [rows[name] for name in names]
        if len(rows) == 1:
            (name,) = rows
            return None if name in NAMELESS or not isinstance(name, str) else name, [rows[name]]
    if not rows:
        raise ValueError(f"{path} holds no vectors")
    raise ValueError(f"{path} holds {len(rows)} tokens ({', '.join(map(str, rows)):.200}); a concept is one word, so give each a file of its own")


def checked(tensor: Any, path: Path) -> Tensor:
    """Return a text encoder's vectors as (vectors, dim) in float32; a single vector may come as (dim,).

    Raises:
        ValueError: they have another type or shape, or not all of them are finite.
    """
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point() or tensor.is_meta or tensor.layout is not torch.strided:
        what = f"a tensor of {tensor.dtype}, {tensor.layout}" if isinstance(tensor, Tensor) else f"a {type(tensor).__name__}"
        raise ValueError(f"{path} holds {what} where a word's vectors are expected")
    if tensor.dim() not in (1, 2):
        raise ValueError(f"{path} has vectors of shape {tuple(tensor.shape)}; a word is (vectors, dim)")
    if tensor.numel() == 0:
        raise ValueError(f"{path} holds no vectors")
    if tensor.numel() > MAX_BYTES:  # a pickle of a few bytes can claim any shape
        raise ValueError(f"{path} has vectors of shape {tuple(tensor.shape)}; that is no word")
    rows = tensor.detach().to(torch.float32).reshape(-1, tensor.shape[-1]).contiguous()
    if not rows.isfinite().all():
        raise ValueError(f"{path} has vectors with NaN or infinity, which give black pictures; export the word again from before it diverged")
    return rows


def joined(word: WordFile, widths: Sequence[int], model: str) -> Tensor:
    """Return a word's rows (vectors, dim), or (vectors, layers * dim), for a base model whose text encoders have these widths.

    Raises:
        ValueError: the word was learned for other widths.
    """
    actual = [part.shape[1] / word.layers for part in word.parts]
    if actual != list(widths):
        raise ValueError(f"{word.path} has vectors of {sizes(actual)} values, {model}'s have {sizes(widths)}; it is a word of another base model")
    return torch.cat([part.unflatten(1, (word.layers, -1)) for part in word.parts], dim=2).flatten(1)


def sizes(widths: Sequence[float]) -> str:
    return " + ".join(f"{width:g}" for width in widths)


def named_tensors(word: WordFile, name: str) -> bytes:
    """Return a safetensors file: a single text encoder's vectors under `name`, those of several under ComfyUI's names."""
    names = word.names or (name,)
    metadata = word.metadata | ({"base_model": base_name(word)} if "base_model" in word.metadata else {})
    return in_order(save(dict(zip(names, word.parts, strict=True)), metadata=metadata or None))


def diffusers(word: WordFile, name: str) -> dict[str, bytes]:
    return {f"{name}.safetensors": named_tensors(word, str(word.token))}


def nameless(word: WordFile, name: str) -> dict[str, bytes]:
    """Return what kohya's scripts write and ComfyUI and A1111 read: the word is the file's name. An extended word is kohya's XTI."""
    if word.layers == 1:
        return {f"{name}.safetensors": named_tensors(word, "emb_params")}
    layers = (rows.contiguous() for rows in word.parts[0].chunk(word.layers, dim=1))
    return {f"{name}.safetensors": in_order(save(dict(zip(XTI, layers, strict=True))))}


def a1111(word: WordFile, name: str) -> dict[str, bytes]:
    """Return the pickle that A1111 writes; for SDXL, for which it writes none, the safetensors file that it reads."""
    if len(word.parts) > 1:
        return nameless(word, name)
    return {
        f"{name}.pt": pickled(
            {
                "string_to_token": {"*": 265},
                "string_to_param": {"*": word.parts[0]},
                "name": word.token,  # A1111 goes by the file's name; diffusers by this, and a plain `teapot` is in its vocabulary already
                "step": word.settings.get("max_train_steps"),
                "sd_checkpoint": None,  # the hash of a checkpoint file; a diffusers folder has none
                "sd_checkpoint_name": base_name(word) or None,
            }
        )
    }


def concepts_library(word: WordFile, name: str) -> dict[str, bytes]:
    """Return a folder's files without its pictures; SDXL, which is newer than the library, has safetensors in place of the pickle."""
    if len(word.parts) > 1:
        embedding = {LEARNED[0]: named_tensors(word, "")}
    else:
        rows = word.parts[0]
        embedding = {LEARNED[1]: pickled({word.token: rows[0].clone() if len(rows) == 1 else rows})}  # the library's single vectors are (dim,)
    kind = word.settings.get("kind", "object")
    card = (
        f"---\ntags: [textual_inversion]\n---\n# {name}\n\n"
        f"`{word.token}` is a {kind} that was taught to {base_name(word) or 'a text-to-image model'} by Textual Inversion, "
        f"in {len(word.parts[0])} vector{'s' * (len(word.parts[0]) > 1)}.\n"
    )
    texts = {"token_identifier.txt": str(word.token), "type_of_concept.txt": kind, "README.md": card}
    return embedding | {name: text.encode() for name, text in texts.items()}


def pickled(value: dict) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def base_name(word: WordFile) -> str:
    """Return the base model that a file of wordmint names; of a path only the last part, since its folders are another machine's."""
    model = PurePath(word.metadata.get("base_model", ""))
    return model.name if model.is_absolute() else word.metadata.get("base_model", "")


FORMATS: dict[str, Callable[[WordFile, str], dict[str, bytes]]] = {
    "diffusers": diffusers,
    "a1111": a1111,
    "kohya": nameless,
    "comfyui": nameless,
    "sd-concepts-library": concepts_library,
}
"""Each returns the files of a word, name -> bytes; a single file takes the name that is passed."""
FOLDERS = {"sd-concepts-library"}
"""The formats that are a folder of several files."""
