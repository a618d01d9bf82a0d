"""Hosts and storage domains as pages show them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from vmseal.engine.tables import Disk, Host, Job, Step, StorageDomain
from vmseal.model.entities import TaskStatus


@dataclass(frozen=True)
class RunningJob:
    """A job that runs on a host."""

    id: str
    description: str


@dataclass(frozen=True, kw_only=True)
class HostDetail:
    """A host. What it has not said is empty; ``versions`` are pairs of a program and its version."""

    id: str
    name: str
    address: str
    cluster: str
    status: str
    status_detail: str
    accelerator: str  # "kvm", "tcg"
    version: str  # of vmseal
    sealers: tuple[str, ...]
    profiles: tuple[str, ...]
    versions: tuple[tuple[str, str], ...]
    system: str
    processor: str
    threads: str
    memory: int  # bytes
    jobs: tuple[RunningJob, ...]


@dataclass(frozen=True, kw_only=True)
class DomainDetail:
    """A storage domain; bytes. ``provisioned``: what disks promise guests, ``allocated``: what their files take."""

    id: str
    name: str
    path: str
    status: str
    total: int
    available: int
    disks: int
    provisioned: int
    allocated: int

    @property
    def used(self) -> int:
        """What is in use, by whatever."""
        return max(0, self.total - self.available)


def host_details(session: Session) -> tuple[HostDetail, ...]:
    """Return all hosts."""
    jobs = _running(session)
    rows = session.scalars(sa.select(Host).order_by(Host.name))
    return tuple(_host(row, jobs.get(row.id, ())) for row in rows)


def _running(session: Session) -> dict[str, tuple[RunningJob, ...]]:
    steps = (
        sa.select(Step.host_id, Job.id, Job.description)
        .join(Job, Job.id == Step.job_id)
        .where(Job.status == TaskStatus.STARTED.value, Step.status == TaskStatus.STARTED.value)
        .order_by(Job.started, Job.id)
    )
    found: defaultdict[str, dict[str, RunningJob]] = defaultdict(dict)
    for host_id, job_id, description in session.execute(steps):
        if host_id:
            found[host_id][job_id] = RunningJob(job_id, description)
    return {host_id: tuple(jobs.values()) for host_id, jobs in found.items()}


def _host(row: Host, jobs: tuple[RunningJob, ...]) -> HostDetail:
    said = row.capabilities
    ours = _map(said.get("vmseal"))
    return HostDetail(
        id=row.id,
        name=row.name,
        address=f"{row.address}:{row.port}",
        cluster=row.cluster.name,
        status=row.status,
        status_detail=row.status_detail,
        accelerator=str(ours.get("accelerator") or ""),
        version=str(ours.get("version") or ""),
        sealers=_words(ours.get("sealers")),
        profiles=_words(ours.get("profiles")),
        versions=tuple(sorted((str(name), str(text)) for name, text in _map(ours.get("versions")).items())),
        system=str(_map(said.get("operatingSystem")).get("pretty_name") or ""),
        processor=str(said.get("cpuModel") or ""),
        threads=str(said.get("cpuThreads") or ""),
        memory=_mebibytes(said.get("memSize")),
        jobs=jobs,
    )


def _map(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _words(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()


def _mebibytes(value: object) -> int:
    text = str(value)
    return int(text) << 20 if text.isdecimal() and len(text) < 12 else 0


def domain_details(session: Session) -> tuple[DomainDetail, ...]:
    """Return all storage domains."""
    sums = sa.select(
        Disk.storage_domain_id,
        sa.func.count(),
        sa.func.sum(Disk.provisioned_size),
        sa.func.sum(Disk.actual_size),
    ).group_by(Disk.storage_domain_id)
    of_disks = {row[0]: (row[1], int(row[2] or 0), int(row[3] or 0)) for row in session.execute(sums)}
    rows = session.scalars(sa.select(StorageDomain).order_by(StorageDomain.name))
    return tuple(_domain(row, *of_disks.get(row.id, (0, 0, 0))) for row in rows)


def _domain(row: StorageDomain, disks: int, provisioned: int, allocated: int) -> DomainDetail:
    return DomainDetail(
        id=row.id,
        name=row.name,
        path=row.path,
        status=row.status,
        total=row.total,
        available=row.available,
        disks=disks,
        provisioned=provisioned,
        allocated=allocated,
    )
