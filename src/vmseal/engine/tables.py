"""The engine's tables: its only memory. Times are UTC; ids are UUIDs as text; sizes are bytes."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, Integer, String, Text, TypeDecorator, UniqueConstraint
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import DateTime

BLANK_TEMPLATE = "00000000-0000-0000-0000-000000000000"


class UtcDateTime(TypeDecorator[dt.datetime]):
    """A moment in UTC: SQLite forgets time zones, so it is put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:  # noqa: ARG002  the interface's
        """Refuse moments without a time zone, store the rest as UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"A moment without a time zone cannot be stored: {value}")
        return value.astimezone(dt.UTC)

    def process_result_value(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:  # noqa: ARG002  the interface's
        """Return the moment in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)


def now() -> dt.datetime:
    """Return the present moment in UTC."""
    return dt.datetime.now(dt.UTC)


class Base(DeclarativeBase):
    """Base of the engine's tables; names avoid those of DBOS, which shares the SQLite file."""


Uuid = String(36)


class Setting(Base):
    """A value that the engine made at first start and keeps, such as the ids of its default things."""

    __tablename__ = "setting"
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(Text)


class DataCenter(Base):
    """A data center: one storage pool (the ids are equal)."""

    __tablename__ = "data_center"
    id: Mapped[str] = mapped_column(Uuid, primary_key=True)
    name: Mapped[str] = mapped_column(String(255), unique=True)
    status: Mapped[str] = mapped_column(String(16), default="up")


class Cluster(Base):
    """A cluster of hosts in a data center."""

    __tablename__ = "cluster"
    id: Mapped[str] = mapped_column(Uuid, primary_key=True)
    name: Mapped[str] = mapped_column(String(255), unique=True)
    data_center_id: Mapped[str] = mapped_column(ForeignKey("data_center.id"))
    data_center: Mapped[DataCenter] = relationship(lazy="joined")


class Host(Base):
    """A host agent and what it last said about itself."""

    __tablename__ = "host"
    id: Mapped[str] = mapped_column(Uuid, primary_key=True)
    name: Mapped[str] = mapped_column(String(255), unique=True)
    address: Mapped[str] = mapped_column(String(255))
    port: Mapped[int] = mapped_column(Integer)
    cluster_id: Mapped[str] = mapped_column(ForeignKey("cluster.id"))
    status: Mapped[str] = mapped_column(String(16), default="connecting")
    status_detail: Mapped[str] = mapped_column(Text, default="")
    capabilities: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    cluster: Mapped[Cluster] = relationship(lazy="joined")


class StorageDomain(Base):
    """A file storage domain; ``path`` is the connection on its hosts."""

    __tablename__ = "storage_domain"
    id: Mapped[str] = mapped_column(Uuid, primary_key=True)
    name: Mapped[str] = mapped_column(String(255), unique=True)
    data_center_id: Mapped[str] = mapped_column(ForeignKey("data_center.id"))
    path: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(16), default="unknown")
    total: Mapped[int] = mapped_column(BigInteger, default=0)
    available: Mapped[int] = mapped_column(BigInteger, default=0)


class Vm(Base):
    """A virtual machine: disks and a little hardware; vmseal does not run it."""

    __tablename__ = "vm"
    id: Mapped[str] = mapped_column(Uuid, primary_key=True)
    name: Mapped[str] = mapped_column(String(255), unique=True)
    description: Mapped[str] = mapped_column(Text, default="")
    comment: Mapped[str] = mapped_column(Text, default="")
    status: Mapped[str] = mapped_column(String(16), default="down")
    os_type: Mapped[str] = mapped_column(String(40), default="other_linux")
    memory: Mapped[int] = mapped_column(BigInteger, default=1 << 30)
    cores: Mapped[int] = mapped_column(Integer, default=1)
    cluster_id: Mapped[str] = mapped_column(ForeignKey("cluster.id"))
    template_id: Mapped[str | None] = mapped_column(ForeignKey("template.id"))  # None: the Blank template
    created: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=now)
    cluster: Mapped[Cluster] = relationship(lazy="joined")
    attachments: Mapped[list[DiskAttachment]] = relationship(
        back_populates="vm", order_by="DiskAttachment.position", cascade="all, delete-orphan"
    )


class Template(Base):
    """A template, or a version of one; a base template is its own base."""

    __tablename__ = "template"
    __table_args__ = (UniqueConstraint("base_template_id", "version_number"),)
    id: Mapped[str] = mapped_column(Uuid, primary_key=True)
    name: Mapped[str] = mapped_column(String(255), index=True)
    description: Mapped[str] = mapped_column(Text, default="")
    comment: Mapped[str] = mapped_column(Text, default="")
    status: Mapped[str] = mapped_column(String(16), default="locked")
    sealed: Mapped[bool] = mapped_column(default=False)
    os_type: Mapped[str] = mapped_column(String(40), default="other_linux")
    memory: Mapped[int] = mapped_column(BigInteger, default=1 << 30)
    cores: Mapped[int] = mapped_column(Integer, default=1)
    cluster_id: Mapped[str] = mapped_column(ForeignKey("cluster.id"))
    source_vm_id: Mapped[str | None] = mapped_column(Uuid)  # no foreign key: the VM may go
    source_vm_name: Mapped[str] = mapped_column(String(255), default="")
    base_template_id: Mapped[str] = mapped_column(Uuid, index=True)
    version_number: Mapped[int] = mapped_column(Integer, default=1)
    version_name: Mapped[str] = mapped_column(String(255), default="base version")
    seal_report: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    proof: Mapped[dict[str, Any] | None] = mapped_column(JSON)  # the last one
    audit: Mapped[dict[str, Any] | None] = mapped_column(JSON)  # the last one
    created: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=now)
    cluster: Mapped[Cluster] = relationship(lazy="joined")
    attachments: Mapped[list[DiskAttachment]] = relationship(
        back_populates="template", order_by="DiskAttachment.position", cascade="all, delete-orphan"
    )


class AttestationKey(Base):
    """A public key of statements; the private one is in the folder of the engine that made it. Never deleted."""

    __tablename__ = "attestation_key"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)  # SHA-256 of the public key
    public_key: Mapped[str] = mapped_column(Text)  # PEM
    created: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=now)
    retired: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)  # signs no more since; what it signed stays good


class Attestation(Base):
    """What a template's volumes hold, the latest signed statement about it, and what the last verification said."""

    __tablename__ = "template_attestation"
    template_id: Mapped[str] = mapped_column(ForeignKey("template.id", ondelete="CASCADE"), primary_key=True)
    digests: Mapped[dict[str, Any]] = mapped_column(JSON)  # vmseal.engine.attestations.Digests
    envelope: Mapped[dict[str, Any] | None] = mapped_column(JSON)  # DSSE; None: it could not be signed
    verification: Mapped[dict[str, Any] | None] = mapped_column(JSON)  # vmseal.engine.attestations.Verification


class Disk(Base):
    """A disk: an image in a storage domain and the volume that is its leaf."""

    __tablename__ = "disk"
    id: Mapped[str] = mapped_column(Uuid, primary_key=True)  # the image's UUID
    volume_id: Mapped[str] = mapped_column(Uuid)
    name: Mapped[str] = mapped_column(String(255))
    description: Mapped[str] = mapped_column(Text, default="")
    status: Mapped[str] = mapped_column(String(16), default="locked")
    format: Mapped[str] = mapped_column(String(8))  # "cow" or "raw", REST's words
    sparse: Mapped[bool] = mapped_column(default=True)
    provisioned_size: Mapped[int] = mapped_column(BigInteger)
    actual_size: Mapped[int] = mapped_column(BigInteger, default=0)
    storage_domain_id: Mapped[str] = mapped_column(ForeignKey("storage_domain.id"))
    parent_disk_id: Mapped[str | None] = mapped_column(ForeignKey("disk.id"))  # the template disk it is an overlay of
    storage_domain: Mapped[StorageDomain] = relationship(lazy="joined")
    attachment: Mapped[DiskAttachment | None] = relationship(back_populates="disk", cascade="all, delete-orphan")


class DiskAttachment(Base):
    """Which VM or template a disk belongs to; its REST id is the disk's."""

    __tablename__ = "disk_attachment"
    disk_id: Mapped[str] = mapped_column(ForeignKey("disk.id", ondelete="CASCADE"), primary_key=True)
    vm_id: Mapped[str | None] = mapped_column(ForeignKey("vm.id", ondelete="CASCADE"))
    template_id: Mapped[str | None] = mapped_column(ForeignKey("template.id", ondelete="CASCADE"))
    position: Mapped[int] = mapped_column(Integer, default=0)
    bootable: Mapped[bool] = mapped_column(default=False)
    interface: Mapped[str] = mapped_column(String(16), default="virtio")
    disk: Mapped[Disk] = relationship(back_populates="attachment", lazy="joined")
    vm: Mapped[Vm | None] = relationship(back_populates="attachments")
    template: Mapped[Template | None] = relationship(back_populates="attachments")


class Job(Base):
    """What a user asked for and how it went; its id is the command's, and the DBOS workflow's."""

    __tablename__ = "job"
    id: Mapped[str] = mapped_column(Uuid, primary_key=True)
    command: Mapped[str] = mapped_column(String(40))  # "AddVmTemplate"
    description: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(16), default="started")
    owner: Mapped[str] = mapped_column(String(255))
    correlation_id: Mapped[str] = mapped_column(String(36), index=True)
    entity_id: Mapped[str | None] = mapped_column(Uuid, index=True)  # the template or VM that it makes or removes
    reason: Mapped[str] = mapped_column(Text, default="")  # why it failed
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    started: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=now)
    updated: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=now, onupdate=now)
    ended: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    steps: Mapped[list[Step]] = relationship(back_populates="job", order_by="Step.number", cascade="all, delete-orphan")


class Step(Base):
    """A part of a job. ``progress`` in percent; ``detail`` says what runs now."""

    __tablename__ = "step"
    id: Mapped[str] = mapped_column(Uuid, primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), index=True)
    parent_id: Mapped[str | None] = mapped_column(Uuid)
    number: Mapped[int] = mapped_column(Integer)
    type: Mapped[str] = mapped_column(String(24), default="unknown")  # validating, executing, finalizing, unknown
    phase: Mapped[str] = mapped_column(String(24), default="")  # a TemplatePhase, where it is one
    description: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(16), default="started")
    progress: Mapped[float | None] = mapped_column()
    detail: Mapped[str] = mapped_column(Text, default="")
    host_id: Mapped[str | None] = mapped_column(Uuid)
    started: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=now)
    ended: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    job: Mapped[Job] = relationship(back_populates="steps")


class Event(Base):
    """Something that happened, for people; ``code`` is oVirt's number."""

    __tablename__ = "event"
    __table_args__ = (Index("event_by_time", "time"),)
    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    code: Mapped[int] = mapped_column(Integer)
    severity: Mapped[str] = mapped_column(String(8))
    time: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=now)
    description: Mapped[str] = mapped_column(Text)
    correlation_id: Mapped[str] = mapped_column(String(36), default="", index=True)
    user_name: Mapped[str] = mapped_column(String(255), default="")
    origin: Mapped[str] = mapped_column(String(255), default="oVirt")  # who reported it: "oVirt" is the engine itself
    custom_id: Mapped[int] = mapped_column(Integer, default=-1)  # an outside reporter's own number
    vm_id: Mapped[str | None] = mapped_column(Uuid)
    vm_name: Mapped[str] = mapped_column(String(255), default="")
    template_id: Mapped[str | None] = mapped_column(Uuid)
    template_name: Mapped[str] = mapped_column(String(255), default="")
    host_id: Mapped[str | None] = mapped_column(Uuid)
    storage_domain_id: Mapped[str | None] = mapped_column(Uuid)


class Lock(Base):
    """A thing that a command works on; the primary key lets one command at a time have it."""

    __tablename__ = "entity_lock"
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)  # vm, template, template-name, disk
    key: Mapped[str] = mapped_column(String(300), primary_key=True)
    command_id: Mapped[str] = mapped_column(Uuid, index=True)
    message: Mapped[str] = mapped_column(Text)  # what a second command is told


class Session(Base):
    """A signed-in user; only the token's SHA-256 is kept."""

    __tablename__ = "user_session"
    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_name: Mapped[str] = mapped_column(String(255))
    created: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=now)
    used: Mapped[dt.datetime] = mapped_column(UtcDateTime, default=now)
