"""Which storage this host sees: connected folders, open domains, and the one storage pool.

Pools and the SPM role follow VDSM on local files: a pool is known by what its domains' metadata says, the host is in
one pool at a time, and the SPM role is a fact of this process only. After a restart the engine connects again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from vmseal.host.domain import Domain, create_domain, domain_exists
from vmseal.host.files import is_uuid
from vmseal.host.image import Image
from vmseal.model.errors import (
    FormatAttachedDomain,
    FormatDomainInPool,
    GeneralError,
    IsSpm,
    MasterNotFound,
    NoPoolConnected,
    NotSpm,
    OtherPoolConnected,
    ResourceAcquisitionFailed,
    UnknownDomain,
    UnknownPool,
    VerbError,
)

logger = structlog.get_logger(__name__)

FAILED_CONNECTION = 100  # any number but 0 tells VDSM's clients that a connection failed
FREE = -1  # "no SPM": its id, and on local files its lease version too


@dataclass(eq=False)
class Pool:
    """The connected pool. ``domains`` maps id to state as the engine gave it."""

    id: str
    host_id: int
    master: str
    domains: dict[str, str] = field(default_factory=dict)
    is_spm: bool = False


def lock_name(domain_id: str, image_id: str) -> str:
    """Return an image's name among the locks."""
    return f"{domain_id}/{image_id}"


def lock_names_of_templates(domain: Domain, image: Image) -> set[str]:
    """Return the lock names of the templates that ``image`` is built on; reads the metadata of the whole image."""
    try:
        return {lock_name(domain.id, template) for template in image.template_images()}
    except VerbError as error:
        if not image.exists:
            raise
        raise ResourceAcquisitionFailed(f"Could not acquire resource: image {image.id}: {error}") from error


class Storage:
    """Folders, domains and the pool of this host."""

    def __init__(self) -> None:
        self._folders: dict[Path, str] = {}
        self._domains: dict[str, Domain] = {}
        self.pool: Pool | None = None

    # --------------------------------------------------------------------------------------------------- connections

    def connect_server(self, connection_id: str, path: str) -> int:
        """Make a folder known and return 0, or another number when it is missing or cannot be written."""
        folder = Path(path)
        if not folder.is_absolute() or not folder.is_dir() or not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            logger.warning("folder cannot be connected: not absolute, missing, or not writable", path=path)
            return FAILED_CONNECTION
        self._folders[folder.resolve()] = connection_id
        return 0

    def disconnect_server(self, path: str) -> int:
        """Forget a folder and close its domains; refused with another number than 0 while the pool uses one."""
        folder = Path(path).resolve()
        inside = [domain for domain in self._domains.values() if domain.path == folder]
        if self.pool is not None and any(domain.id in self.pool.domains for domain in inside):
            logger.warning("folder stays connected: the pool uses it", path=path, pool=self.pool.id)
            return FAILED_CONNECTION
        for domain in inside:
            self._domains.pop(domain.id).close()
        self._folders.pop(folder, None)
        return 0

    def close(self) -> None:
        """Give up all domains."""
        for domain in self._domains.values():
            domain.close()
        self._domains.clear()
        self.pool = None

    # ------------------------------------------------------------------------------------------------------- domains

    def domain(self, domain_id: str) -> Domain:
        """Return the domain, opened (locked and cleaned up) at its first use.

        Raises:
            UnknownDomain: it is in none of the connected folders.
            DomainInaccessible: another process owns it.

        """
        if domain_id not in self._domains:
            for folder in self._folders:
                if domain_exists(folder, domain_id):
                    self._domains[domain_id] = Domain(folder, domain_id)
                    break
            else:
                folders = ", ".join(map(str, self._folders)) or "none"
                raise UnknownDomain(f"Storage domain does not exist: {domain_id} (connected folders: {folders})")
        return self._domains[domain_id]

    def domain_ids(self) -> list[str]:
        """Return the ids of all domains in the connected folders."""
        entries = (entry for folder in self._folders for entry in folder.iterdir())
        return sorted(
            entry.name for entry in entries if is_uuid(entry.name) and domain_exists(entry.parent, entry.name)
        )

    def create_domain(self, path: str, domain_id: str, *, name: str, domain_class: int) -> None:
        """Make a domain in a connected folder."""
        folder = Path(path).resolve()
        if folder not in self._folders:
            raise UnknownDomain(f"Folder {path} is not connected: call StoragePool.connectStorageServer first")
        create_domain(folder, domain_id, name=name, domain_class=domain_class)

    def take_for_format(self, domain_id: str, *, auto_detach: bool) -> Domain:
        """Return a domain that may be destroyed, and forget it."""
        domain = self.domain(domain_id)
        if self.pool is not None and domain_id in self.pool.domains:
            raise FormatDomainInPool(f"Cannot format a storage domain of the connected pool: {domain_id}")
        if domain.pools and not auto_detach:
            raise FormatAttachedDomain(f"Cannot format attached storage domain: {domain_id} is in {domain.pools}")
        return self._domains.pop(domain_id)

    # ---------------------------------------------------------------------------------------------------------- pool

    def create_pool(self, pool_id: str, *, name: str, master: str, master_version: int, domains: Sequence[str]) -> None:
        """Write the pool into its domains' metadata; again for the same pool is no error."""
        if master not in domains:
            raise MasterNotFound(f"Cannot find master domain: {master} is not among the pool's domains")
        opened = [self.domain(domain_id) for domain_id in domains]
        for domain in opened:
            _require_free(domain, pool_id)
        for domain in opened:
            domain.change({"POOL_UUID": pool_id})
        self.domain(master).change(
            {
                "ROLE": "Master",
                "MASTER_VERSION": str(master_version),
                "POOL_DESCRIPTION": name,
                "POOL_DOMAINS": ",".join(f"{domain_id}:Active" for domain_id in sorted(domains)),
                "POOL_SPM_ID": str(FREE),
                "POOL_SPM_LVER": str(FREE),
            }
        )

    def connect_pool(self, pool_id: str, host_id: int, *, master: str, domains: Mapping[str, str]) -> None:
        """Enter a pool, or refresh what is known of it; opens its active domains."""
        if self.pool is not None and self.pool.id != pool_id:
            raise OtherPoolConnected(f"Cannot connect to pool {pool_id}: the host is in pool {self.pool.id}")
        try:
            master_domain = self.domain(master)
        except UnknownDomain as error:
            raise MasterNotFound(f"Cannot find master domain: {error}") from error
        if pool_id not in master_domain.pools:
            raise UnknownPool(f"Unknown pool id, pool not connected: {pool_id} is not in domain {master}")
        states = dict(domains) or {master: "active"}
        for domain_id, state in states.items():
            if state.lower() == "active":
                self.domain(domain_id)
        is_spm = self.pool is not None and self.pool.is_spm
        self.pool = Pool(pool_id, host_id, master, states, is_spm)

    def disconnect_pool(self, pool_id: str) -> None:
        """Leave the pool; unknown pools are no error."""
        if self.pool is None or self.pool.id != pool_id:
            return
        if self.pool.is_spm:
            raise IsSpm(f"Operation not allowed while SPM is active: call StoragePool.spmStop for {pool_id}")
        self.pool = None

    def require_any_pool(self) -> Pool:
        """Return the connected pool, or raise :class:`NoPoolConnected`."""
        if self.pool is None:
            raise NoPoolConnected("No storage pool connected: call StoragePool.connect first")
        return self.pool

    def require_pool(self, pool_id: str) -> Pool:
        """Return the pool when it is the connected one, or raise :class:`UnknownPool`."""
        if self.pool is None or self.pool.id != pool_id:
            raise UnknownPool(f"Unknown pool id, pool not connected: {pool_id}")
        return self.pool

    def require_spm(self, pool_id: str | None = None) -> Pool:
        """Return the pool when this host is its SPM; without ``pool_id`` that of any pool."""
        if pool_id is not None:
            self.require_pool(pool_id)
        if self.pool is None or not self.pool.is_spm:
            raise NotSpm("Not SPM: call StoragePool.spmStart first")
        return self.pool

    def pool_info(self, pool_id: str) -> dict[str, object]:
        """Return what ``StoragePool.getInfo`` shows."""
        pool = self.require_pool(pool_id)
        master = self.domain(pool.master).load()
        return {
            "info": {
                "domains": ",".join(f"{domain}:{state.capitalize()}" for domain, state in sorted(pool.domains.items())),
                "isoprefix": "",
                "lver": FREE,
                "master_uuid": pool.master,
                "master_ver": int(master.get("MASTER_VERSION", "1")),
                "name": master.get("POOL_DESCRIPTION", ""),
                "pool_status": "connected",
                "spm_id": pool.host_id if pool.is_spm else FREE,
                "type": "LOCALFS",
                "version": master["VERSION"],
            },
            "dominfo": {domain: self._domain_info(domain, state) for domain, state in pool.domains.items()},
        }

    def _domain_info(self, domain_id: str, state: str) -> dict[str, object]:
        shown: dict[str, object] = {"status": state.capitalize(), "alerts": [], "isoprefix": ""}
        if state.lower() == "active":
            domain = self.domain(domain_id)
            stats = domain.stats()
            shown |= {"diskfree": stats["diskfree"], "disktotal": stats["disktotal"], "version": 5}
        return shown

    def spm_status(self, pool_id: str) -> dict[str, object]:
        """Return what ``StoragePool.getSpmStatus`` shows."""
        pool = self.require_pool(pool_id)
        return {
            "spmStatus": "SPM" if pool.is_spm else "Free",
            "spmLver": FREE,
            "spmId": pool.host_id if pool.is_spm else FREE,
        }

    def attach(self, domain_id: str, pool_id: str) -> None:
        """Put a domain into the pool; nothing happens when it is there already."""
        pool = self.require_pool(pool_id)
        domain = self.domain(domain_id)
        _require_free(domain, pool_id)
        if pool_id not in domain.pools:
            domain.change({"POOL_UUID": pool_id})
        pool.domains.setdefault(domain_id, "attached")

    def set_state(self, domain_id: str, pool_id: str, state: str) -> None:
        """Mark a domain of the pool active or attached."""
        pool = self.require_pool(pool_id)
        if domain_id not in pool.domains:
            raise UnknownDomain(f"Storage domain {domain_id} is not in pool {pool_id}")
        self.domain(domain_id)
        pool.domains[domain_id] = state

    def detach(self, domain_id: str, pool_id: str) -> None:
        """Take a domain out of the pool; the master stays."""
        pool = self.require_pool(pool_id)
        if domain_id == pool.master:
            raise GeneralError(f"Storage domain {domain_id} is the pool's master and cannot be detached")
        self.domain(domain_id).change({"POOL_UUID": ""})
        pool.domains.pop(domain_id, None)


def _require_free(domain: Domain, pool_id: str) -> None:
    others = [other for other in domain.pools if other != pool_id]
    if others:
        raise GeneralError(f"Storage domain {domain.id} is in another pool: {others[0]}")
