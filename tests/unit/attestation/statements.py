"""A statement, its key and its disks for tests."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence

from vmseal.attestation.digest import Digest
from vmseal.attestation.keys import PrivateKey
from vmseal.attestation.statement import (
    AuditFacts,
    DigestSet,
    DiskFacts,
    FindingFacts,
    OperationCounts,
    Predicate,
    ProofFacts,
    SealFacts,
    SourceFacts,
    Statement,
    Subject,
    TemplateFacts,
    Times,
    Tools,
)

KEY = PrivateKey.new()
FOREIGN = PrivateKey.new()
MOMENT = dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC)
DISKS = (b"first disk", b"second disk!")


def digest_of(data: bytes) -> Digest:
    return Digest(hashlib.sha256(data).hexdigest(), len(data))


def statement(disks: Sequence[bytes] = DISKS) -> Statement:
    """Return a statement about disks with something in every field."""
    subjects = tuple(
        Subject(
            name=f"image-{position}/volume-{position}",
            digest=DigestSet(sha256=digest_of(data).sha256),
            annotations=DiskFacts(size=len(data), position=position, disk=f"web_disk{position}", format="cow"),
        )
        for position, data in enumerate(disks)
    )
    seal = SealFacts(
        sealer="appliance",
        version="1",
        accelerator="tcg",
        profile="default",
        catalogue="c" * 64,
        distribution="Debian GNU/Linux 12 (bookworm)",
        erased=True,
        operations=(OperationCounts(name="machine-id", removed=1, changed=1, bytes=33),),
        not_sealed=("a damaged file system",),
        warnings=1,
        seconds=3.5,
    )
    finding = FindingFacts(name="private-key", path="/opt/é", what="a private key", severity="medium", origin="content")
    predicate = Predicate(
        template=TemplateFacts(id="t-1", name="web", version_name="base version", created=MOMENT),
        source=SourceFacts(vm_id="v-1", vm_name="web-1"),
        sealed=True,
        seal=seal,
        audit=AuditFacts(passed=True, medium=1, findings=(finding,), files=15000, version="1", seconds=2.5),
        proof=ProofFacts(passed=True, guest="Debian", firmware="bios", accelerator="tcg", version="1", seconds=50.0),
        tools=Tools(engine="1", host="1", programs={"qemu-img": "7.2"}),
        times=Times(digested=MOMENT, signed=MOMENT),
    )
    return Statement(subject=subjects, predicate=predicate)
