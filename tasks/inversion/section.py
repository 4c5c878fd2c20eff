"""What all sections of params.yaml have in common. Importing it imports no torch."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of params.yaml: it does not change once it was read, and a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
