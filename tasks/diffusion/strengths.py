"""How a prompt says how strongly a word acts. Importing it imports no torch."""

import re

STRENGTH = re.compile(r"<([^<>\s:]+):([0-9]*\.?[0-9]+)>")
"""`<fox:0.7>` is the word `<fox>`, whose adapter acts with 0.7 of its change."""


def strengths_in(prompt: str) -> dict[str, float]:
    """Return word -> its strength, for the words whose strength the prompt names."""
    return {f"<{name}>": float(value) for name, value in STRENGTH.findall(prompt)}


def without_strengths(prompt: str) -> str:
    """Return the prompt with its words alone."""
    return STRENGTH.sub(r"<\1>", prompt)
