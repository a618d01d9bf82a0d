"""The host agent's settings, from ``VMSEAL_HOST_...`` environment variables or from the program that starts it."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from vmseal.model.address import is_loopback
from vmseal.rpc.verb import AuditMode
from vmseal.sealers.auto import DEFAULT_SEALER, SealerName


class HostSettings(BaseSettings):
    """All that can be set. Times are in seconds; lists in the environment are JSON."""

    model_config = SettingsConfigDict(env_prefix="VMSEAL_HOST_", frozen=True, extra="forbid")

    state: Path = Field(description="folder for logs, runs and the lock file; one agent per folder")
    address: str = Field(default="127.0.0.1", description="where the agent listens; :: is every address")
    port: int = Field(default=54321, ge=0, le=65535, description="port of the agent; 0 takes a free one")
    key: Path | None = Field(default=None, description="private key, PEM")
    certificate: Path | None = Field(default=None, description="certificate, PEM")
    ca: Path | None = Field(default=None, description="authority that clients' certificates must be of, PEM")
    insecure: bool = Field(default=False, description="plain TCP; only on a loopback address")

    storage_jobs: int = Field(default=2, ge=1, description="storage jobs (copies) that run at once; more wait")
    virt_jobs: int = Field(default=2, ge=1, description="virt jobs (seals) that run at once; more wait")
    copy_deadline: float = Field(default=6 * 3600, gt=0, description="a copy may take so long")
    seal_deadline: float = Field(default=3600, gt=0, description="a seal may take so long")
    proofs: int = Field(
        default=2, ge=1, description="proofs that run at once, of all programs on this state; more wait"
    )
    proof_timeout: float = Field(default=300, gt=0, description="the first boot of a clone may take so long")
    digest_deadline: float = Field(
        default=3600, gt=0, description="computing the digests of a template may take so long"
    )
    proof_memory: int = Field(default=1024, ge=128, description="MiB of each of the two clones of a proof")
    audit: AuditMode = Field(
        default=AuditMode.REQUIRED,
        description="required: a seal that cannot be audited has failed, unless a request says wanted; off: no audits",
    )
    audit_deadline: float = Field(default=600, gt=0, description="an audit may take so long")
    job_retention: float = Field(default=3600, ge=0, description="finished jobs are kept so long")
    import_folders: list[Path] = Field(
        default_factory=list, description="folders whose image files may be imported; none by default"
    )

    sealer: SealerName = Field(default=DEFAULT_SEALER, description="the sealer, unless a request names one")
    profile: str | None = Field(
        default=None,
        description="what is removed, unless a request says it: sysprep, default, thorough, or one of your own; "
        "None: the most that the sealer is made for",
    )
    erase: bool | None = Field(
        default=None, description="make deleted data unreadable, unless a request says it; None: where the sealer can"
    )
    cache: Path | None = Field(default=None, description="folder for appliances; None: in the state folder")
    prepare: bool = Field(
        default=True,
        description="make the appliance in the background when the agent starts; false: the first seal makes it",
    )
    memory: int | None = Field(default=None, ge=128, description="MiB of our appliance; None: what it needs")
    virt_sysprep: str = Field(default="virt-sysprep", description="the program virt-sysprep")
    guestfish: str = Field(default="guestfish", description="the program that looks into disks before virt-sysprep")

    @model_validator(mode="after")
    def _check_transport(self) -> Self:
        files = (self.key, self.certificate, self.ca)
        if self.insecure:
            if not is_loopback(self.address):
                raise ValueError(
                    f"VMSEAL_HOST_INSECURE is for loopback only, and other machines can reach {self.address}: "
                    "set VMSEAL_HOST_KEY, VMSEAL_HOST_CERTIFICATE and VMSEAL_HOST_CA instead"
                )
        elif None in files:
            raise ValueError(
                "VMSEAL_HOST_KEY, VMSEAL_HOST_CERTIFICATE and VMSEAL_HOST_CA are needed "
                "(or VMSEAL_HOST_INSECURE=true on a loopback address)"
            )
        return self
