"""Data centers, clusters, hosts, storage domains and profiles: the installation, which the API only shows."""

from __future__ import annotations

import uuid

import sqlalchemy as sa

from vmseal.engine.api.exchange import View
from vmseal.engine.api.faults import not_found
from vmseal.engine.api.lists import empty_lists
from vmseal.engine.api.representation.body import canonical_uuid
from vmseal.engine.api.representation.entity import Entity, Listing, Value, reference
from vmseal.engine.api.representation.resource import Resource, always
from vmseal.engine.api.routes import Route, read
from vmseal.engine.api.search import apply
from vmseal.engine.queries.infrastructure import CENTER_KEYS, CLUSTER_KEYS, DOMAIN_KEYS, HOST_KEYS
from vmseal.engine.tables import Cluster, DataCenter, Host, StorageDomain

_PROFILES = uuid.UUID("0b8c5c3e-6a0f-4a35-8f1c-2f6f0d1f3c55")  # name space of the profiles' ids

NETWORKS = {"networks": ("networks", "network")}
PERMISSIONS = {"permissions": ("permissions", "permission")}


def disk_profile_id(domain_id: str) -> str:
    """Return the id of a storage domain's only disk profile."""
    return str(uuid.uuid5(_PROFILES, f"disk:{domain_id}"))


def cpu_profile_id(cluster_id: str) -> str:
    """Return the id of a cluster's only CPU profile."""
    return str(uuid.uuid5(_PROFILES, f"cpu:{cluster_id}"))


def _version(tag: str) -> Entity:
    return Entity(tag, fields={"major": 4, "minor": 7})


DATA_CENTER = Resource[DataCenter](
    tag="data_center",
    plural="data_centers",
    identify=lambda row: row.id,
    href=lambda row: f"/datacenters/{row.id}",
    fields={
        "name": lambda row: row.name,
        "description": always(""),
        "local": always(False),
        "quota_mode": always("disabled"),
        "status": lambda row: row.status,
        "storage_format": always("v5"),
        "version": lambda _row: _version("version"),
    },
    links=("clusters", "storagedomains", "networks", "permissions"),
)

CLUSTER = Resource[Cluster](
    tag="cluster",
    plural="clusters",
    identify=lambda row: row.id,
    href=lambda row: f"/clusters/{row.id}",
    fields={
        "name": lambda row: row.name,
        "description": always(""),
        "bios_type": always("q35_sea_bios"),
        "cpu.architecture": always("x86_64"),
        "version": lambda _row: _version("version"),
        "virt_service": always(True),
        "gluster_service": always(False),
        "data_center": lambda row: reference("data_center", "datacenters", row.data_center_id),
    },
    links=("networks", "permissions", "cpuprofiles"),
)


HOST = Resource[Host](
    tag="host",
    plural="hosts",
    identify=lambda row: row.id,
    href=lambda row: f"/hosts/{row.id}",
    fields={
        "name": lambda row: row.name,
        "address": lambda row: row.address,
        "port": lambda row: row.port,
        "status": lambda row: row.status,
        "status_detail": lambda row: row.status_detail or None,
        "external_status": lambda row: "ok" if row.status == "up" else "error",
        "protocol": always("stomp"),
        "type": always("rhel"),
        "cluster": lambda row: reference("cluster", "clusters", row.cluster_id),
    },
    links=("permissions", "tags", "statistics", "nics"),
)


def _data_centers(row: StorageDomain) -> Value:
    center = reference("data_center", "datacenters", row.data_center_id)
    return Listing("data_centers", "data_center", [center] if center else [])


STORAGE_DOMAIN = Resource[StorageDomain](
    tag="storage_domain",
    plural="storage_domains",
    identify=lambda row: row.id,
    href=lambda row: f"/storagedomains/{row.id}",
    fields={
        "name": lambda row: row.name,
        "description": always(""),
        "type": always("data"),
        "status": lambda row: row.status,
        "external_status": lambda row: "ok" if row.status == "active" else "error",
        "master": always(True),
        "available": lambda row: row.available,
        "used": lambda row: max(0, row.total - row.available),
        "committed": always(0),
        "storage.type": always("localfs"),
        "storage.path": lambda row: row.path,
        "storage_format": always("v5"),
        "wipe_after_delete": always(False),
        "data_centers": _data_centers,
    },
    links=("disks", "diskprofiles", "permissions"),
)

DISK_PROFILE = Resource[StorageDomain](
    tag="disk_profile",
    plural="disk_profiles",
    identify=lambda row: disk_profile_id(row.id),
    href=lambda row: f"/diskprofiles/{disk_profile_id(row.id)}",
    fields={
        "name": lambda row: row.name,
        "storage_domain": lambda row: reference("storage_domain", "storagedomains", row.id),
    },
    links=("permissions",),
)

CPU_PROFILE = Resource[Cluster](
    tag="cpu_profile",
    plural="cpu_profiles",
    identify=lambda row: cpu_profile_id(row.id),
    href=lambda row: f"/cpuprofiles/{cpu_profile_id(row.id)}",
    fields={
        "name": lambda row: row.name,
        "cluster": lambda row: reference("cluster", "clusters", row.id),
    },
    links=("permissions",),
)


def list_data_centers(view: View) -> Listing:
    """List the data centers that the search finds."""
    found = apply(sa.select(DataCenter), CENTER_KEYS, view=view, order=[DataCenter.name])
    return DATA_CENTER.listing(view.session.scalars(found))


def require_data_center(view: View, center_id: str) -> DataCenter:
    """Return the row of a data center; a fault when there is none."""
    center = view.session.get(DataCenter, canonical_uuid(center_id))
    if center is None:
        raise not_found("Data center", center_id)
    return center


def list_clusters(view: View) -> Listing:
    """List the clusters that the search finds."""
    return CLUSTER.listing(
        view.session.scalars(apply(sa.select(Cluster), CLUSTER_KEYS, view=view, order=[Cluster.name]))
    )


def require_cluster(view: View, cluster_id: str) -> Cluster:
    """Return the row of a cluster; a fault when there is none."""
    cluster = view.session.get(Cluster, canonical_uuid(cluster_id))
    if cluster is None:
        raise not_found("Cluster", cluster_id)
    return cluster


def list_hosts(view: View) -> Listing:
    """List the hosts that the search finds."""
    return HOST.listing(view.session.scalars(apply(sa.select(Host), HOST_KEYS, view=view, order=[Host.name])))


def require_host(view: View, host_id: str) -> Host:
    """Return the row of a host; a fault when there is none."""
    host = view.session.get(Host, canonical_uuid(host_id))
    if host is None:
        raise not_found("Host", host_id)
    return host


def list_storage_domains(view: View) -> Listing:
    """List the storage domains that the search finds."""
    found = apply(sa.select(StorageDomain), DOMAIN_KEYS, view=view, order=[StorageDomain.name])
    return STORAGE_DOMAIN.listing(view.session.scalars(found))


def require_storage_domain(view: View, domain_id: str) -> StorageDomain:
    """Return the row of a storage domain; a fault when there is none."""
    domain = view.session.get(StorageDomain, canonical_uuid(domain_id))
    if domain is None:
        raise not_found("Storage domain", domain_id)
    return domain


def _clusters_of(view: View, center_id: str) -> Listing:
    center = require_data_center(view, center_id)
    found = sa.select(Cluster).where(Cluster.data_center_id == center.id).order_by(Cluster.name)
    return CLUSTER.listing(view.session.scalars(found))


def _storage_domains_of(view: View, center_id: str) -> Listing:
    center = require_data_center(view, center_id)
    found = sa.select(StorageDomain).where(StorageDomain.data_center_id == center.id).order_by(StorageDomain.name)
    return STORAGE_DOMAIN.listing(view.session.scalars(found))


def _list_disk_profiles(view: View) -> Listing:
    return DISK_PROFILE.listing(view.session.scalars(sa.select(StorageDomain).order_by(StorageDomain.name)))


def _require_disk_profile(view: View, profile_id: str) -> StorageDomain:
    for domain in view.session.scalars(sa.select(StorageDomain)):
        if disk_profile_id(domain.id) == canonical_uuid(profile_id):
            return domain
    raise not_found("Disk profile", profile_id)


def _list_cpu_profiles(view: View) -> Listing:
    return CPU_PROFILE.listing(view.session.scalars(sa.select(Cluster).order_by(Cluster.name)))


def _require_cpu_profile(view: View, profile_id: str) -> Cluster:
    for cluster in view.session.scalars(sa.select(Cluster)):
        if cpu_profile_id(cluster.id) == canonical_uuid(profile_id):
            return cluster
    raise not_found("CPU profile", profile_id)


_OF_HOST = PERMISSIONS | {
    "tags": ("tags", "tag"),
    "statistics": ("statistics", "statistic"),
    "nics": ("host_nics", "host_nic"),
}

_NOT_HERE = {
    "networks": ("networks", "network"),
    "vnicprofiles": ("vnic_profiles", "vnic_profile"),
    "tags": ("tags", "tag"),
    "vmpools": ("vm_pools", "vm_pool"),
    "instancetypes": ("instance_types", "instance_type"),
    "imagetransfers": ("image_transfers", "image_transfer"),
    "permissions": ("permissions", "permission"),
}

ROUTES: tuple[Route, ...] = (
    read("/datacenters", list_data_centers),
    read("/datacenters/{}", lambda view, key: DATA_CENTER.entity(require_data_center(view, key))),
    read("/datacenters/{}/clusters", _clusters_of),
    read("/datacenters/{}/storagedomains", _storage_domains_of),
    *empty_lists("/datacenters/{}", NETWORKS | PERMISSIONS, require_data_center),
    read("/clusters", list_clusters),
    read("/clusters/{}", lambda view, key: CLUSTER.entity(require_cluster(view, key))),
    read("/clusters/{}/cpuprofiles", lambda view, key: CPU_PROFILE.listing([require_cluster(view, key)])),
    *empty_lists("/clusters/{}", NETWORKS | PERMISSIONS, require_cluster),
    read("/hosts", list_hosts),
    read("/hosts/{}", lambda view, key: HOST.entity(require_host(view, key))),
    *empty_lists("/hosts/{}", _OF_HOST, require_host),
    read("/storagedomains", list_storage_domains),
    read("/storagedomains/{}", lambda view, key: STORAGE_DOMAIN.entity(require_storage_domain(view, key))),
    read(
        "/storagedomains/{}/diskprofiles", lambda view, key: DISK_PROFILE.listing([require_storage_domain(view, key)])
    ),
    *empty_lists("/storagedomains/{}", PERMISSIONS, require_storage_domain),
    read("/diskprofiles", _list_disk_profiles),
    read("/diskprofiles/{}", lambda view, key: DISK_PROFILE.entity(_require_disk_profile(view, key))),
    *empty_lists("/diskprofiles/{}", PERMISSIONS, _require_disk_profile),
    read("/cpuprofiles", _list_cpu_profiles),
    read("/cpuprofiles/{}", lambda view, key: CPU_PROFILE.entity(_require_cpu_profile(view, key))),
    *empty_lists("/cpuprofiles/{}", PERMISSIONS, _require_cpu_profile),
    *empty_lists("", _NOT_HERE),
)
