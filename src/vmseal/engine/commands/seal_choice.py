"""How disks are sealed: what a request says, else what the engine's settings say, else the host."""

from __future__ import annotations

import re

import sqlalchemy as sa
from sqlalchemy.orm import Session

from vmseal.engine.commands.checks import refuse
from vmseal.engine.commands.plan import SealPlan
from vmseal.engine.requests import RefusalKind, SealChoice
from vmseal.engine.settings import EngineSettings
from vmseal.engine.tables import Host

WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def accept_seal(session: Session, choice: SealChoice, settings: EngineSettings, *, seal: bool, action: str) -> SealPlan:
    """Return how to seal; refuse what is not asked for, or what no host can do.

    A host that was never up has announced nothing: what it can do is found out when it is asked to seal.
    """
    if not seal:
        if choice != SealChoice():
            raise refuse(RefusalKind.BAD_REQUEST, action, "Nothing is sealed, so do not say how: add seal=true.")
        return SealPlan()
    plan = SealPlan(
        sealer=settings.seal_sealer if choice.sealer is None else choice.sealer,
        profile=settings.seal_profile if choice.profile is None else choice.profile,
        erase=settings.seal_erase if choice.erase is None else choice.erase,
        audit_required=not settings.templates_without_audit,
    )
    for word, kind in ((plan.sealer, "sealer"), (plan.profile, "profile")):
        if word is not None:
            _require_announced(session, word, kind, action=action)
    return plan


def _require_announced(session: Session, word: str, kind: str, *, action: str) -> None:
    announced: set[str] = set()
    for capabilities in session.scalars(sa.select(Host.capabilities)):
        ours = capabilities.get("vmseal")
        words = ours.get(f"{kind}s") if isinstance(ours, dict) else None
        announced |= {str(each) for each in words} if isinstance(words, list) else set()
    if WORD.fullmatch(word) is None or (announced and word not in announced):
        known = f"; there are {', '.join(sorted(announced))}" if announced else ""
        raise refuse(RefusalKind.BAD_REQUEST, action, f"No host has the {kind} {word[:64]!r}{known}.")
