"""What the host's reports say is what a statement says, in counts and findings; a secret is nowhere."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from vmseal.engine.attestations import Digests
from vmseal.engine.statements import FINDINGS, NoStatement, build
from vmseal.engine.tables import Disk, DiskAttachment, Template
from vmseal.proof import ProofReport
from vmseal.seal.audit import AuditReport, Finding, Origin, Severity
from vmseal.seal.report import Action, Change, GuestSystem, Kept, OperationReport, SealReport

DOMAIN, IMAGES, VOLUME = "d" * 36, ("a" * 36, "b" * 36), "e" * 36
MOMENT = dt.datetime(2024, 5, 1, 12, 0, 0, 123, tzinfo=dt.UTC)
HOSTNAME = "payroll-db-7"


def plain(report: Any) -> dict[str, Any]:
    """Return a report as it comes out of the database."""
    return dict(json.loads(json.dumps(report.as_json())))


def seal_report() -> SealReport:
    machine_id = OperationReport(
        "machine-id",
        0.1,
        removed=2,
        changed=1,
        bytes=66,
        paths=[Change("/etc/machine-id", Action.EMPTIED, 33)],
        kept=[Kept("/opt/id", "it may be needed")],
        warnings=["odd"],
    )
    return SealReport(
        sealer="appliance",
        version="1",
        accelerator="kvm",
        guest=GuestSystem(root="/dev/sda1", type="linux", distro="debian", product="Debian 12", hostname=HOSTNAME),
        disks=["/dev/disk"],
        operations=[machine_id],
        warnings=["first", "second"],
        seconds=3.0,
        profile="default",
        erased={"blocks": 1},
        not_sealed=["a damaged file system"],
    )


def finding(severity: Severity, number: int = 0, accepted: str = "") -> Finding:
    return Finding(
        name="private-key",
        path=f"/k{number}",
        what="a key",
        why="it is secret",
        advice="remove it",
        severity=severity,
        origin=Origin.CONTENT,
        accepted=accepted,
    )


def proof_report() -> ProofReport:
    return ProofReport(
        passed=False,
        reasons=("machine-id is fixed",),
        clones=(),
        shared=("machine-id",),
        template={"machine-id": "secret-of-the-guest"},
        guest="Debian 12",
        disks=("/dev/disk",),
        firmware="uefi",
        accelerator="kvm",
        version="1",
        seconds=40.0,
    )


def template(**changes: Any) -> Template:
    made = Template(
        id="t",
        name="web",
        version_number=2,
        version_name="two",
        created=MOMENT,
        source_vm_id="v",
        source_vm_name="web-0",
        sealed=True,
        **changes,
    )
    for position, image in enumerate(IMAGES):
        disk = Disk(id=image, volume_id=VOLUME, name=f"web_disk{position}", format="cow", storage_domain_id=DOMAIN)
        made.attachments.append(DiskAttachment(disk=disk, position=position))
    return made


def digests(*images: str) -> Digests:
    volumes = [
        {"sd_id": DOMAIN, "img_id": image, "vol_id": VOLUME, "sha256": image[0] * 64, "size": 10 + number}
        for number, image in enumerate(images)
    ]
    return Digests.model_validate({"volumes": volumes, "digested": MOMENT, "version": "1", "catalogue": "c" * 64})


def test_everything_that_the_reports_know_is_counted() -> None:
    audit = AuditReport(passed=True).with_findings(
        [finding(Severity.LOW), finding(Severity.MEDIUM, 1), finding(Severity.HIGH, 2, accepted="on purpose")]
    )
    statement = build(
        template(seal_report=plain(seal_report()), audit=plain(audit), proof=plain(proof_report())), digests(*IMAGES)
    )
    assert [(one.name, one.digest.sha256, one.annotations.size) for one in statement.subject] == [
        (f"{image}/{VOLUME}", image[0] * 64, 10 + number) for number, image in enumerate(IMAGES)
    ]
    said = statement.predicate
    assert said.seal is not None
    assert (said.seal.distribution, said.seal.erased, said.seal.warnings, said.seal.catalogue) == (
        "Debian 12",
        True,
        2,
        "c" * 64,
    )
    (operation,) = said.seal.operations
    assert operation.model_dump() == {
        "name": "machine-id",
        "removed": 2,
        "changed": 1,
        "bytes": 66,
        "kept": 1,
        "warnings": 1,
    }
    assert said.audit is not None
    assert (said.audit.passed, said.audit.high, said.audit.medium, said.audit.low) == (True, 0, 1, 1)
    assert [one.accepted for one in said.audit.findings] == ["on purpose", "", ""]
    assert said.proof is not None
    assert (said.proof.passed, said.proof.reasons, said.proof.shared, said.proof.firmware) == (
        False,
        ("machine-id is fixed",),
        ("machine-id",),
        "uefi",
    )
    text = statement.encoded().decode()
    assert HOSTNAME not in text
    assert "secret-of-the-guest" not in text


def test_a_flood_of_findings_is_counted_and_not_listed() -> None:
    audit = AuditReport(passed=True).with_findings(finding(Severity.LOW, number) for number in range(FINDINGS + 7))
    said = build(template(audit=plain(audit)), digests(*IMAGES)).predicate
    assert said.audit is not None
    assert (len(said.audit.findings), said.audit.more, said.audit.low) == (FINDINGS, 7, FINDINGS + 7)


def test_the_order_is_the_templates_whatever_order_the_host_had() -> None:
    statement = build(template(), digests(*reversed(IMAGES)))
    assert [one.annotations.disk for one in statement.subject] == ["web_disk0", "web_disk1"]
    assert [one.digest.sha256[0] for one in statement.subject] == ["a", "b"]


def test_a_disk_that_was_not_digested_makes_no_statement() -> None:
    with pytest.raises(NoStatement, match="web_disk1"):
        build(template(), digests(IMAGES[0]))


def test_a_report_that_is_none_makes_no_statement() -> None:
    with pytest.raises(ValueError, match="sealer"):
        build(template(seal_report={"schema": 99}), digests(*IMAGES))
