"""How the API says no: one table from refusals to HTTP, and oVirt's ``<fault>``."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from vmseal.engine.api.representation.entity import Entity
from vmseal.engine.requests import Refusal, RefusalKind
from vmseal.model.errors import VmsealError

OPERATION_FAILED = "Operation Failed"

STATUS: dict[RefusalKind, HTTPStatus] = {
    RefusalKind.BAD_REQUEST: HTTPStatus.BAD_REQUEST,
    RefusalKind.NOT_FOUND: HTTPStatus.NOT_FOUND,
    RefusalKind.CONFLICT: HTTPStatus.CONFLICT,
    RefusalKind.FORBIDDEN: HTTPStatus.FORBIDDEN,
    RefusalKind.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
}


class Fault(VmsealError):
    """An answer other than success."""

    def __init__(self, status: HTTPStatus, detail: str, *, reason: str = OPERATION_FAILED) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.detail = detail

    @property
    def entity(self) -> Entity:
        """The fault as clients read it."""
        return Entity("fault", fields={"detail": self.detail, "reason": self.reason})


def bad_request(detail: str, *, reason: str = OPERATION_FAILED) -> Fault:
    """Return the fault of a request that makes no sense."""
    return Fault(HTTPStatus.BAD_REQUEST, detail, reason=reason)


def incomplete(kind: str, parts: Mapping[str, object], *, method: str) -> Fault:
    """Return the fault of a request that lacks the parts that are None: "Vm [name] required for add"."""
    missing = [name for name, value in parts.items() if value is None]
    return bad_request(f"{kind} [{', '.join(missing)}] required for {method}", reason="Incomplete parameters")


def not_found(kind: str, identity: str) -> Fault:
    """Return the fault of a thing that does not exist."""
    return Fault(HTTPStatus.NOT_FOUND, f"{kind} {identity[:255]!r} does not exist.", reason="Not Found")


def unsupported(sentence: str) -> Fault:
    """Return the fault of what oVirt can and vmseal cannot; the sentence says what to do instead."""
    return bad_request(f"[{sentence}]")


def refused(refusal: Refusal, action: str) -> Fault:
    """Return the fault of a refusal; ``action`` is what was asked, "Cannot add Template."."""
    detail = refusal.detail
    if refusal.kind is RefusalKind.NOT_FOUND:
        return Fault(STATUS[refusal.kind], detail)
    if not detail.startswith("["):
        detail = f"[{detail}]" if not action or detail.startswith("Cannot ") else f"[{action} {detail}]"
    return Fault(STATUS[refusal.kind], detail)
