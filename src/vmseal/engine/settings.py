"""The engine's settings, from ``VMSEAL_...`` environment variables or from the program that starts it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from vmseal.model.address import is_loopback


class HostAddress(BaseModel):
    """Where a host agent listens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    address: str = "127.0.0.1"
    port: int = 54321


class FailedAudit(StrEnum):
    """What becomes of a request for a VM when the last audit of its template has not passed."""

    ALLOW = "allow"
    WARN = "warn"
    REFUSE = "refuse"


class EngineSettings(BaseSettings):
    """All that can be set. Times are in seconds; lists and objects in the environment are JSON."""

    model_config = SettingsConfigDict(env_prefix="VMSEAL_", frozen=True, extra="forbid")

    state: Path = Field(description="folder for the database, the admin password and the lock file")
    address: str = Field(default="127.0.0.1", description="where the API listens")
    port: int = Field(default=0, ge=0, le=65535, description="port of the API; 0 takes a free one")
    tls_key: Path | None = Field(default=None, description="the API's private key; without it plain HTTP")
    tls_certificate: Path | None = Field(default=None, description="the API's certificate chain")
    tls_ca: Path | None = Field(default=None, description="CA certificate that clients may download")

    admin_password_file: Path | None = Field(default=None, description="file with the password of admin@internal")
    database_url: str | None = Field(default=None, description="SQLAlchemy URL; None: SQLite in the state folder")

    hosts: list[HostAddress] = Field(default_factory=list, description="the host agents")
    hosts_key: Path | None = Field(default=None, description="private key for connections to hosts")
    hosts_certificate: Path | None = Field(default=None, description="certificate for connections to hosts")
    hosts_ca: Path | None = Field(default=None, description="CA that the hosts' certificates must be of")
    hosts_insecure: bool = Field(default=False, description="plain TCP to hosts; only on loopback")
    storage_path: Path | None = Field(default=None, description="folder on the hosts of the first storage domain")

    command_limit: int = Field(default=50, ge=1, description="commands that run at once; more wait")
    poll_interval: float = Field(default=0.5, gt=0, description="between two looks at a host job")
    host_interval: float = Field(default=2.0, gt=0, description="between two looks at a host")
    copy_deadline: float = Field(default=24 * 3600, gt=0, description="a copy may take so long, host outages included")
    seal_deadline: float = Field(default=4 * 3600, gt=0, description="a seal may take so long, host outages included")
    proof_deadline: float = Field(default=3600, gt=0, description="a proof may take so long, host outages included")
    audit_deadline: float = Field(default=3600, gt=0, description="an audit may take so long, host outages included")
    templates_without_audit: bool = Field(
        default=False, description="what was sealed becomes ok although no audit could be made, and says so"
    )
    failed_audit: FailedAudit = Field(
        default=FailedAudit.WARN,
        description="VMs of templates whose last audit has not passed: allow, warn (an event), or refuse",
    )
    digest_deadline: float = Field(
        default=4 * 3600, gt=0, description="the digests of a template may take so long, host outages included"
    )
    seal_vms_by_default: bool = Field(
        default=False, description="seal VMs made from sealed templates even when the request does not say so"
    )
    seal_sealer: str | None = Field(
        default=None, description="the sealer, unless a request names one; None: the host's setting"
    )
    seal_profile: str | None = Field(
        default=None, description="what a seal removes, unless a request says it; None: the host's setting"
    )
    seal_erase: bool | None = Field(
        default=None, description="make deleted data unreadable, unless a request says it; None: the host's setting"
    )
    require_proof: bool = Field(
        default=False, description="a sealed template becomes ok only when a proof of it has passed; else it is undone"
    )
    finished_jobs_kept: float = Field(default=600, ge=0, description="how long finished jobs can be seen")
    failed_jobs_kept: float = Field(default=3600, ge=0, description="how long failed jobs can be seen")
    session_timeout: float = Field(default=1800, gt=0, description="an unused session ends after this time")

    @model_validator(mode="after")
    def _check_transport(self) -> Self:
        if (self.tls_key is None) != (self.tls_certificate is None):
            raise ValueError("VMSEAL_TLS_KEY and VMSEAL_TLS_CERTIFICATE belong together: give both or none")
        if self.tls_key is None and not is_loopback(self.address):
            raise ValueError(
                f"The API would speak plain HTTP on {self.address}, which other machines can reach: "
                "set VMSEAL_TLS_KEY and VMSEAL_TLS_CERTIFICATE, or VMSEAL_ADDRESS=127.0.0.1"
            )
        return self

    @model_validator(mode="after")
    def _check_hosts(self) -> Self:
        names = [host.name for host in self.hosts]
        if len(set(names)) != len(names):
            raise ValueError(f"VMSEAL_HOSTS names a host twice: {', '.join(sorted(names))}")
        if self.hosts and self.storage_path is None:
            raise ValueError("VMSEAL_STORAGE_PATH is missing: the folder on the hosts that holds the disks")
        files = (self.hosts_key, self.hosts_certificate, self.hosts_ca)
        if self.hosts and not self.hosts_insecure and None in files:
            raise ValueError(
                "Connections to hosts need VMSEAL_HOSTS_KEY, VMSEAL_HOSTS_CERTIFICATE and VMSEAL_HOSTS_CA "
                "(or VMSEAL_HOSTS_INSECURE=true when all hosts are on this machine)"
            )
        remote = [host.name for host in self.hosts if not is_loopback(host.address)]
        if self.hosts_insecure and remote:
            raise ValueError(f"VMSEAL_HOSTS_INSECURE is for hosts on this machine only, not for {', '.join(remote)}")
        return self

    @property
    def folder(self) -> Path:
        """The engine's part of the state folder."""
        return self.state / "engine"

    @property
    def url_of_database(self) -> str:
        """The database to use."""
        return self.database_url or f"sqlite:///{self.folder / 'vmseal.db'}"
