"""An independent look at a guest's disks, sealed or not: what is still there of the old machine. Nothing is written."""

from __future__ import annotations

from vmseal.seal.audit.course import answer, rehearse
from vmseal.seal.audit.report import AuditReport, Finding, Origin, Severity

__all__ = ["AuditReport", "Finding", "Origin", "Severity", "answer", "rehearse"]
