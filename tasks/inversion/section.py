"""What all sections of params.yaml have in common. Importing it imports no torch."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of params.yaml: it is immutable once read, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
