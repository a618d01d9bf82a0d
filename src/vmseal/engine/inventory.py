"""What a new engine makes for itself: data center, cluster, storage domain, and the hosts of the settings."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from vmseal.engine.database import Database
from vmseal.engine.host_connection import StorageLocation
from vmseal.engine.settings import EngineSettings, HostAddress
from vmseal.engine.tables import Cluster, DataCenter, Host, StorageDomain
from vmseal.model.entities import HostStatus
from vmseal.model.errors import VmsealError

DEFAULT = "Default"  # the name that oVirt gives its first data center and cluster
DOMAIN_NAME = "data"


@dataclass(frozen=True)
class KnownHost:
    """A host of the settings with the id that the engine gave it."""

    id: str
    address: HostAddress


@dataclass(frozen=True)
class Inventory:
    """What the engine works with; ``storage`` is None while there are no hosts."""

    storage: StorageLocation | None
    hosts: tuple[KnownHost, ...]


def ensure(database: Database, settings: EngineSettings) -> Inventory:
    """Make what is missing, bring the hosts' addresses up to date, and return all of it."""
    with database.session() as session:
        center = _data_center(session)
        cluster = _cluster(session, center)
        hosts = tuple(KnownHost(_host(session, one, cluster), one) for one in settings.hosts)
        session.execute(
            sa.update(Host)
            .where(Host.id.not_in([host.id for host in hosts]))
            .values(status=HostStatus.NON_RESPONSIVE.value, status_detail="The settings do not name this host any more")
        )
        if settings.storage_path is None:
            return Inventory(None, hosts)
        domain = _domain(session, center, str(settings.storage_path))
        location = StorageLocation(
            pool=center.id, pool_name=center.name, domain=domain.id, domain_name=domain.name, path=domain.path
        )
        return Inventory(location, hosts)


def _new_id() -> str:
    return str(uuid.uuid4())


def _data_center(session: Session) -> DataCenter:
    center = session.scalars(sa.select(DataCenter).limit(1)).first()
    if center is None:
        center = DataCenter(id=_new_id(), name=DEFAULT)
        session.add(center)
        session.flush()
    return center


def _cluster(session: Session, center: DataCenter) -> Cluster:
    cluster = session.scalars(sa.select(Cluster).limit(1)).first()
    if cluster is None:
        cluster = Cluster(id=_new_id(), name=DEFAULT, data_center_id=center.id)
        session.add(cluster)
        session.flush()
    return cluster


def _host(session: Session, address: HostAddress, cluster: Cluster) -> str:
    host = session.scalars(sa.select(Host).where(Host.name == address.name)).first()
    if host is None:
        host = Host(id=_new_id(), name=address.name, cluster_id=cluster.id)
        session.add(host)
    host.address, host.port = address.address, address.port
    host.status, host.status_detail = HostStatus.CONNECTING.value, ""
    session.flush()
    return host.id


def _domain(session: Session, center: DataCenter, path: str) -> StorageDomain:
    domain = session.scalars(sa.select(StorageDomain).where(StorageDomain.name == DOMAIN_NAME)).first()
    if domain is None:
        domain = StorageDomain(id=_new_id(), name=DOMAIN_NAME, data_center_id=center.id, path=path)
        session.add(domain)
        session.flush()
    if domain.path != path:
        raise VmsealError(
            f"Storage domain {DOMAIN_NAME} is in {domain.path}, the settings say {path}: set VMSEAL_STORAGE_PATH to "
            f"{domain.path}, or start with a new state folder"
        )
    return domain
