"""Answering the request for an audit: mount for reading, look at the files, then at what no file has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from vmseal.seal import asked, catalogue, looking
from vmseal.seal.audit import remnants, search
from vmseal.seal.audit.report import AuditReport, Finding
from vmseal.seal.audit.still import Still
from vmseal.seal.audit.traces import Promise, traces
from vmseal.seal.catalogue import Operation
from vmseal.seal.guest import identify
from vmseal.seal.looking import Look
from vmseal.seal.record import printable

MOST = 3000  # findings of a report


def answer(request: Mapping[str, object]) -> dict[str, object]:
    """Return the :class:`AuditReport` of the request's guest, as JSON.

    ``promised``: names of the operations that a seal has done, ``erased`` whether it has erased, ``profile`` its name.
    ``operations``: the catalogue, where it is not the program's own. ``remnants``: "none", "sampled" or "whole".

    Raises:
        SealRefused: there is no guest.

    """
    promise = Promise(
        operations=frozenset(map(str, asked.items(request.get("promised", [])))),
        erases=request.get("erased") is True,
        profile=str(request.get("profile", "")),
    )
    with looking.look(request, tree=Still) as look:
        noted = list(_of_files(look, _catalogue(request.get("operations")), promise))
        searched = search.search(look.root)
        depth = remnants.Depth(str(request.get("remnants", remnants.Depth.SAMPLED)))
        left = remnants.look(look.assembly, look.mounts, depth=depth, erased=promise.erases)
        product = printable(look.guest.product)
        not_seen = [printable(line) for line in look.mounts.not_sealed]
    limits = [line for line in noted if isinstance(line, str)]
    findings = [line for line in noted if isinstance(line, Finding)]
    report = AuditReport(
        passed=False,
        limits=(*limits, *searched.limits, *left.limits, *(f"not looked at: {line}" for line in not_seen)),
        guest=product,
        profile=promise.profile,
        files=searched.files,
        bytes=searched.bytes,
    )
    report = report.with_findings(merged([*findings, *searched.findings, *left.findings]))
    return _bounded(report).as_json()


def _bounded(report: AuditReport) -> AuditReport:
    """Return the report with what can be listed; of a hostile guest's millions, those that matter most."""
    hidden = len(report.findings) - MOST
    if hidden <= 0:
        return report
    limits = (*report.limits, f"{hidden} more findings are not listed")
    return replace(report, findings=report.findings[:MOST], limits=limits)


def _of_files(look: Look, operations: Iterable[Operation], promise: Promise) -> Iterable[Finding | str]:
    return traces(look.root, look.guest, operations, promise=promise, points=look.mounts.points)


def _catalogue(given: object) -> Iterable[Operation]:
    if given is None:
        return catalogue.own()
    return [catalogue.from_json(asked.mapping(item)) for item in asked.items(given)]


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """Return one finding for each path: the one that matters most, with the names of the others."""
    by_path: dict[str, list[Finding]] = {}
    for finding in findings:
        by_path.setdefault(finding.path, []).append(finding)
    return [same[0] if len(same) == 1 else _one(same) for same in by_path.values()]


def _one(same: list[Finding]) -> Finding:
    first = max(same, key=lambda finding: (finding.severity.rank, finding.promised))
    names = dict.fromkeys(name for finding in same for name in (finding.name, *finding.also))
    names.pop(first.name)
    return replace(first, also=tuple(names), promised=any(finding.promised for finding in same))


def rehearse(folder: Path) -> None:
    """Audit the tree in a folder, so that all that is made for it once is there."""
    root = Still(folder)
    try:
        list(traces(root, identify(root), catalogue.own(), promise=Promise(), points=()))
        search.search(root)
    finally:
        root.close()
