"""The methods that turn latents into a learned embedding, by name."""

from tasks.inversion.textual_inversion import new_word

METHODS = {"textual_inversion": new_word}
