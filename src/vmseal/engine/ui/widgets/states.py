"""The states of things in words, with the look of their badges."""

from __future__ import annotations

from vmseal.engine.queries.templates import FAILED, NONE, PASSED
from vmseal.engine.ui.widgets.cells import Tone
from vmseal.engine.ui.widgets.simple import Text
from vmseal.model.entities import DomainStatus, HostStatus, Severity, TaskStatus, TemplateStatus

State = tuple[str, str]  # words, tone

STATUS: dict[str, State] = {
    TemplateStatus.OK: ("ok", Tone.GOOD),
    TemplateStatus.LOCKED: ("locked", Tone.BUSY),
    TemplateStatus.ILLEGAL: ("illegal", Tone.BAD),
}
AUDIT: dict[str, State] = {
    PASSED: ("passed", Tone.GOOD),
    FAILED: ("not passed", Tone.BAD),
    NONE: ("not audited", Tone.PLAIN),
}
PROOF: dict[str, State] = {
    PASSED: ("passed", Tone.GOOD),
    FAILED: ("not passed", Tone.BAD),
    NONE: ("not proved", Tone.PLAIN),
}
HOST: dict[str, State] = {
    HostStatus.UP: ("up", Tone.GOOD),
    HostStatus.CONNECTING: ("connecting", Tone.BUSY),
    HostStatus.NON_RESPONSIVE: ("does not respond", Tone.BAD),
}
DOMAIN: dict[str, State] = {
    DomainStatus.ACTIVE: ("active", Tone.GOOD),
    DomainStatus.UNKNOWN: ("unknown", Tone.WARN),
}
TASK: dict[str, State] = {
    TaskStatus.STARTED: ("running", Tone.BUSY),
    TaskStatus.FINISHED: ("finished", Tone.GOOD),
    TaskStatus.FAILED: ("failed", Tone.BAD),
    TaskStatus.ABORTED: ("aborted", Tone.WARN),
}
EVENT: dict[str, State] = {
    Severity.NORMAL: ("normal", Tone.PLAIN),
    Severity.WARNING: ("warning", Tone.WARN),
    Severity.ERROR: ("error", Tone.BAD),
    Severity.ALERT: ("alert", Tone.BAD),
}
FINDING: dict[str, State] = {  # how much a finding of an audit matters
    "high": ("high", Tone.BAD),
    "medium": ("medium", Tone.WARN),
    "low": ("low", Tone.PLAIN),
}


def state(states: dict[str, State], word: str) -> State:
    """Return a state's words and look; what is not known stands for itself."""
    return states.get(word, (word, Tone.PLAIN))


def seal_state(*, sealed: bool) -> State:
    """Return whether a template is sealed."""
    return ("sealed", Tone.GOOD) if sealed else ("not sealed", Tone.WARN)


class Badge(Text):
    """A state, as tables show it."""

    def __init__(self, words: str, tone: str, *, about: str = "") -> None:
        super().__init__("span", f"{about}: {words}" if about else words, classes=f"vs-badge vs-{tone}")
