"""What a proof has shown, as data that survives a trip as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass

SCHEMA = 1  # grows when a field changes its meaning


@dataclass(frozen=True, kw_only=True)
class CloneReport:
    """A clone after its first boot, which took ``seconds``.

    ``identities``: by name, the value, or a digest or fingerprint of what is secret or long.
    """

    identities: dict[str, str]
    failed_units: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class ProofReport:
    """Whether a template makes different machines, and why not.

    ``template`` and ``source`` (None when it was not given) are identities as those of the clones. ``shared`` names
    what both clones have alike, ``equal_to_template`` and ``equal_to_source`` what a clone has from there. ``kept`` is
    the folder with consoles and journals of a proof that did not pass. ``boot``: what has started the clones' kernel.
    """

    schema: int = SCHEMA
    passed: bool
    reasons: tuple[str, ...]
    clones: tuple[CloneReport, ...]
    shared: tuple[str, ...] = ()
    equal_to_template: tuple[str, ...] = ()
    equal_to_source: tuple[str, ...] = ()
    template: dict[str, str]
    source: dict[str, str] | None = None
    guest: str
    disks: tuple[str, ...]
    firmware: str
    boot: str = "loader"
    accelerator: str
    version: str
    seconds: float
    kept: str = ""

    def as_json(self) -> dict[str, object]:
        """Return JSON-ready data; tuples become lists there."""
        return asdict(self)
