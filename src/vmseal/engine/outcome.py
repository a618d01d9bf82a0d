"""How a part of a command ended, as data: that is what survives a crash (see :mod:`vmseal.engine.durable`)."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field


class Outcome(BaseModel):
    """An end. ``reason`` says why it is not ok; ``data`` is what later parts need."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ok: bool
    reason: str = ""
    cancelled: bool = False  # somebody asked for it, it did not fail by itself
    data: dict[str, object] = Field(default_factory=dict)

    @classmethod
    def done(cls, **data: object) -> Outcome:
        """Return a good end."""
        return cls(ok=True, data=data)

    @classmethod
    def failed(cls, reason: str) -> Outcome:
        """Return a bad end."""
        return cls(ok=False, reason=reason)

    @classmethod
    def aborted(cls, reason: str) -> Outcome:
        """Return an end that was asked for."""
        return cls(ok=False, reason=reason, cancelled=True)

    @classmethod
    def of_all(cls, outcomes: Iterable[Outcome]) -> Outcome:
        """Return one end for several: a failure before an abort (which it caused), else the data of all."""
        ended = list(outcomes)
        bad = [one for one in ended if not one.ok]
        if bad:
            return next((one for one in bad if not one.cancelled), bad[0])
        merged: dict[str, object] = {}
        for one in ended:
            merged |= one.data
        return cls(ok=True, data=merged)
