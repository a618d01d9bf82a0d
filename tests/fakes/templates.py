"""Rows of templates as a real installation has them: what the web UI's pages and their queries are tested with."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from vmseal.attestation.envelope import Envelope
from vmseal.attestation.keys import PrivateKey
from vmseal.attestation.verification import sign
from vmseal.engine.attestations import Digests, VolumeDigest
from vmseal.engine.statements import build
from vmseal.engine.tables import (
    Attestation,
    AttestationKey,
    Cluster,
    Disk,
    DiskAttachment,
    Event,
    Host,
    Job,
    Step,
    StorageDomain,
    Template,
    Vm,
    now,
)

GIB = 1 << 30
HOSTILE = "<img src=x onerror=alert(1)>{{ 7*7 }}"

SEAL_REPORT: dict[str, Any] = {
    "schema": 2,
    "sealer": "appliance",
    "version": "1.0",
    "accelerator": "tcg",
    "profile": "sysprep",
    "guest": {"product": "Debian GNU/Linux 12 (bookworm)", "distro": "debian", "type": "linux", "root": "/dev/sda1"},
    "disks": ["disk1"],
    "operations": [
        {
            "name": "ssh-hostkeys",
            "started": 1.0,
            "removed": 2,
            "bytes": 3000,
            "paths": [
                {"path": "/etc/ssh/ssh_host_ed25519_key", "action": "removed", "bytes": 411},
                {"path": f"/etc/ssh/{HOSTILE}", "action": "removed", "bytes": 2589},
            ],
        },
        {
            "name": "machine-id",
            "started": 1.2,
            "changed": 1,
            "paths": [{"path": "/etc/machine-id", "action": "emptied", "bytes": 33}],
        },
        {
            "name": "logfiles",
            "started": 2.0,
            "kept": [{"path": "/var/log/own.log", "why": "it is no log of the system"}],
        },
    ],
    "warnings": ["/dev/sdb1 has no file system that is known"],
    "not_sealed": ["/dev/sdb2 is encrypted"],
    "seconds": 14.25,
    "erased": {"bytes": 12345},
}

FINDINGS: list[dict[str, Any]] = [
    {
        "name": "ssh-host-key",
        "path": "/etc/ssh/ssh_host_rsa_key",
        "what": "private host key of SSH",
        "why": "Whoever has one clone can pass for the other.",
        "advice": "Seal the template, or remove the key.",
        "severity": "high",
        "origin": "identity",
        "promised": True,
    },
    {
        "name": "private-key",
        "path": f"/root/{HOSTILE}/a*b.pem",
        "what": "private key in PEM",
        "why": "It may be a secret of the old machine.",
        "advice": "Remove it, or accept it when it is there on purpose.",
        "severity": "medium",
        "origin": "content",
    },
    {
        "name": "bash-history",
        "path": "/root/.bash_history",
        "what": "commands that were typed",
        "why": "It tells of the old machine.",
        "advice": "Remove it.",
        "severity": "low",
        "origin": "catalogue",
        "accepted": "wanted by the course",
    },
]


def audit(*, passed: bool) -> dict[str, Any]:
    """Return an audit's report."""
    return {
        "schema": 1,
        "passed": passed,
        "findings": FINDINGS[1:] if passed else FINDINGS,
        "limits": ["Half of the free space was looked at."],
        "guest": "Debian GNU/Linux 12 (bookworm)",
        "files": 31212,
        "bytes": 812345678,
        "version": "1.0",
        "seconds": 21.0,
    }


def proof(*, passed: bool) -> dict[str, Any]:
    """Return a proof's report."""
    clones: list[dict[str, Any]] = [
        {
            "identities": {
                "machine-id": letter * 32,
                "ssh-host-key ed25519": f"SHA256:{letter * 43}",
                "hostname": "localhost" if passed else "web1",
            },
            "failed_units": [] if passed else ["nginx.service"],
            "seconds": 41.5,
        }
        for letter in "ab"
    ]
    return {
        "schema": 1,
        "passed": passed,
        "reasons": [] if passed else ["both clones are called web1: seal with another host name, or allow it"],
        "clones": clones,
        "shared": [] if passed else ["hostname"],
        "equal_to_template": [],
        "equal_to_source": [],
        "template": {"machine-id": "", "hostname": "web1"},
        "guest": "Debian GNU/Linux 12 (bookworm)",
        "disks": ["disk1"],
        "firmware": "bios",
        "accelerator": "tcg",
        "version": "1.0",
        "seconds": 95.0,
    }


def add_template(session: Session, name: str, *, base: Template | None = None, vms: int = 0, **more: Any) -> Template:
    """Write a template with one disk and VMs made of it, into an installation that has cluster and domain."""
    template_id = str(uuid.uuid4())
    values: dict[str, Any] = {"status": "ok", "os_type": "debian_12", "source_vm_name": "source"} | more
    number = 1
    if base is not None:
        number += session.scalars(
            sa.select(sa.func.count()).where(Template.base_template_id == base.base_template_id)
        ).one()
    template = Template(
        id=template_id,
        name=name,
        cluster_id=session.scalars(sa.select(Cluster.id)).one(),
        base_template_id=base.base_template_id if base else template_id,
        version_number=number,
        version_name="base version" if base is None else f"update {number}",
        **values,
    )
    session.add(template)
    session.flush()
    disk_id = str(uuid.uuid4())
    session.add(
        Disk(
            id=disk_id,
            volume_id=str(uuid.uuid4()),
            name=f"{name}_disk1",
            status=template.status,
            format="cow",
            provisioned_size=10 * GIB,
            actual_size=GIB,
            storage_domain_id=session.scalars(sa.select(StorageDomain.id)).one(),
        )
    )
    session.flush()
    session.add(DiskAttachment(disk_id=disk_id, template_id=template_id, bootable=True))
    for position in range(vms):
        vm = Vm(id=str(uuid.uuid4()), name=f"{name}-{template_id[:4]}-{position}", cluster_id=template.cluster_id)
        vm.template_id = template_id
        session.add(vm)
    session.flush()
    session.refresh(template, ["attachments"])
    return template


def add_statement(session: Session, template: Template) -> Envelope:
    """Sign a statement about a template with a new key."""
    key = PrivateKey.new()
    volumes = tuple(
        VolumeDigest(
            sd_id=one.disk.storage_domain_id,
            img_id=one.disk.id,
            vol_id=one.disk.volume_id,
            sha256="5" * 64,
            size=one.disk.provisioned_size,
        )
        for one in template.attachments
    )
    digests = Digests(volumes=volumes, digested=now(), version="1.0")
    envelope = sign(build(template, digests), key)
    session.add(AttestationKey(id=key.public.id, public_key=key.public.pem))
    session.add(
        Attestation(
            template_id=template.id,
            digests=digests.model_dump(mode="json", by_alias=True),
            envelope=envelope.as_json(),
            verification={"verified": True, "time": now().isoformat()},
        )
    )
    return envelope


def add_job(session: Session, template: Template, command: str, description: str, **more: Any) -> Job:
    """Write a job about a template, with a step that is at 42 %."""
    values: dict[str, Any] = {"status": "started", "owner": "admin@internal-authz"} | more
    job = Job(
        id=str(uuid.uuid4()),
        command=command,
        description=description,
        correlation_id=str(uuid.uuid4()),
        entity_id=template.id,
        **values,
    )
    top = Step(id=str(uuid.uuid4()), number=1, type="executing", description="Executing", status=job.status)
    inner = Step(
        id=str(uuid.uuid4()),
        parent_id=top.id,
        number=2,
        phase="SEAL",
        description="Sealing the disks",
        status=job.status,
        progress=42.0,
        detail="ssh-hostkeys",
        host_id=session.scalars(sa.select(Host.id)).first(),
        ended=job.ended,
    )
    job.steps = [top, inner]
    session.add(job)
    return job


def add_many(session: Session) -> dict[str, str]:
    """Write an installation's worth of templates in all states; return their ids by name."""
    day = dt.timedelta(days=1)
    good: dict[str, Any] = {
        "sealed": True,
        "seal_report": SEAL_REPORT,
        "audit": audit(passed=True),
        "proof": proof(passed=True),
    }
    web = add_template(session, "debian-web", vms=3, description="Web server", created=now() - 90 * day, **good)
    newer = add_template(session, "debian-web", base=web, vms=1, created=now() - 2 * day, **good)
    bad = add_template(
        session,
        HOSTILE,
        vms=2,
        description=HOSTILE,
        created=now() - 12 * day,
        **(good | {"audit": audit(passed=False), "proof": proof(passed=False)}),
    )
    plain = add_template(session, "unsealed", vms=1, created=now() - day)
    locked = add_template(session, "being-made", status="locked", sealed=True)
    broken = add_template(session, "broken", status="illegal")
    for number in range(30):
        report = SEAL_REPORT | {"seconds": 12.0 + (number * 37 % 23)}
        created = now() - number * 3 * day - day
        add_template(session, f"series-{number:02}", created=created, **(good | {"seal_report": report}))
    add_statement(session, newer)
    add_job(session, locked, "AddVmTemplate", "Creating sealed Template being-made from VM source")
    ended = {"status": "failed", "ended": now(), "reason": f"sealing failed: {HOSTILE}"}
    add_job(session, bad, "ProveVmTemplate", f"Proving Template {HOSTILE}", **ended)
    for code, severity, text in (
        (48, "normal", "was made"),
        (52, "error", f"failed: {HOSTILE}"),
        (20012, "warning", "x"),
    ):
        for template in (newer, bad):
            session.add(
                Event(
                    code=code,
                    severity=severity,
                    description=f"Template {template.name} {text}",
                    user_name="admin@internal-authz",
                    template_id=template.id,
                    template_name=template.name,
                )
            )
    names = {"web": web, "newer": newer, "bad": bad, "plain": plain, "locked": locked, "broken": broken}
    return {name: template.id for name, template in names.items()}
