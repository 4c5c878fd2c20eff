"""The methods of inversion by their names in params.yaml: each prepares a word that the training loop then trains as any other."""

from collections.abc import Callable
from typing import Any

from tasks.diffusion.base_model import BaseModel
from tasks.inversion.methods.norm_held import hold_norm
from tasks.inversion.methods.per_image import add_image_tokens
from tasks.inversion.methods.progressive import add_vectors_later
from tasks.inversion.methods.regularised import pull_to_coarse_word
from tasks.inversion.pivotal import tune_around
from tasks.inversion.textual_inversion import Word

METHODS: dict[str, Callable[[BaseModel, Word, Any], Word]] = {
    "textual_inversion": lambda base, word, options: word,
    "progressive": add_vectors_later,
    "regularised": pull_to_coarse_word,
    "per_image": add_image_tokens,
    "norm_held": hold_norm,
    "pivotal": tune_around,
}
"""name -> (base model, a plain new word, the method's options) -> the word as the method trains it."""
