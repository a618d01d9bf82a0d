"""What all verbs are made of: the base of their parameters, and how a verb's work relates to its answer."""

from __future__ import annotations

import uuid
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


class Kind(StrEnum):
    """How a verb's work relates to its answer."""

    SYNCHRONOUS = "S"  # the answer is the result
    JOB = "J"  # the answer is true; the work is a host job
    TASK = "T"  # the answer is a task's UUID


def _uuid(value: str) -> str:
    return str(uuid.UUID(value))


Uuid = Annotated[str, AfterValidator(_uuid)]


class Parameters(BaseModel):
    """Base of all parameters: frozen, built by Python name or wire name, extras ignored."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, extra="ignore")

    def wire(self) -> dict[str, object]:
        """Return the parameters under their wire names, without those that are None."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
