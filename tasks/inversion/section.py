"""What all sections of params.yaml have in common. Importing it imports no torch."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

SEEDS = 2**63
"""Seeds lie below this: they are counted on from, and torch takes 64 bits."""


class Section(BaseModel):
    """A part of params.yaml: it is immutable once read, an unknown key is an error, and numbers are finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def counts_no_truth(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse YAML's true, yes and on where a number belongs; Python would count each as 1."""
        parts = value if isinstance(value, list) else [value]
        if cls.model_fields[str(info.field_name)].annotation is not bool and any(isinstance(part, bool) for part in parts):
            raise ValueError("true and false are neither number nor text")
        return value
