"""What all sections of params.yaml have in common. Importing it imports no torch."""

import reprlib
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from tasks.pictures.names import printable

SEEDS = 2**63
"""Seeds lie below this: later seeds are higher, and torch takes 64 bits."""
BRIEF = reprlib.Repr()  # repr() would write out every copy of what YAML's aliases repeat, which may be billions
BRIEF.maxlevel, BRIEF.maxstring, BRIEF.maxother = 2, 80, 80


class Section(BaseModel):
    """A part of params.yaml: it is immutable once read, an unknown key is an error, and numbers are finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def counts_no_truth(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse YAML's true and false where a number or a text belongs; Python would count each as a number."""
        parts = value if isinstance(value, list) else [value]
        if cls.model_fields[str(info.field_name)].annotation is not bool and any(isinstance(part, bool) for part in parts):
            raise ValueError("true and false are neither number nor text")
        return value


def faults(error: ValidationError, place: str = "") -> str:
    """Return all that is wrong, on one line; `place` stands before the path of each fault."""
    named = [(place + ".".join(map(str, fault["loc"])) or "concepts", fault["msg"], BRIEF.repr(fault["input"])) for fault in error.errors()]
    return printable("; ".join(f"{name}: {message} (got {value:.80})" for name, message, value in named))
