"""Data centers, clusters, hosts and storage domains: what they can be searched and sorted by."""

from __future__ import annotations

import sqlalchemy as sa

from vmseal.engine.queries.keys import Condition, Key, Keys, Kind
from vmseal.engine.tables import Cluster, DataCenter, Host, StorageDomain


def _clusters_of_center(condition: Condition) -> Condition:
    return sa.exists().where(Cluster.data_center_id == DataCenter.id, condition)


def _domains_of_center(condition: Condition) -> Condition:
    return sa.exists().where(StorageDomain.data_center_id == DataCenter.id, condition)


def _center_of_cluster(condition: Condition) -> Condition:
    return sa.exists().where(DataCenter.id == Cluster.data_center_id, condition)


def _center_of_domain(condition: Condition) -> Condition:
    return sa.exists().where(DataCenter.id == StorageDomain.data_center_id, condition)


def _cluster_of_host(condition: Condition) -> Condition:
    return sa.exists().where(Cluster.id == Host.cluster_id, condition)


def _center_of_host(condition: Condition) -> Condition:
    return sa.exists().where(Cluster.id == Host.cluster_id, DataCenter.id == Cluster.data_center_id, condition)


CENTER_KEYS = Keys(
    entity="datacenter",
    free=("name",),
    keys={
        "id": Key(DataCenter.id),
        "name": Key(DataCenter.name),
        "status": Key(DataCenter.status),
        "cluster.name": Key(Cluster.name, scope=_clusters_of_center),
        "storage.name": Key(StorageDomain.name, scope=_domains_of_center),
    },
)

CLUSTER_KEYS = Keys(
    entity="cluster",
    free=("name",),
    keys={
        "id": Key(Cluster.id),
        "name": Key(Cluster.name),
        "datacenter": Key(DataCenter.name, scope=_center_of_cluster),
        "datacenter.name": Key(DataCenter.name, scope=_center_of_cluster),
    },
)

HOST_KEYS = Keys(
    entity="host",
    free=("name", "address"),
    keys={
        "id": Key(Host.id),
        "name": Key(Host.name),
        "address": Key(Host.address),
        "status": Key(Host.status),
        "cluster": Key(Cluster.name, scope=_cluster_of_host),
        "cluster.name": Key(Cluster.name, scope=_cluster_of_host),
        "datacenter": Key(DataCenter.name, scope=_center_of_host),
        "datacenter.name": Key(DataCenter.name, scope=_center_of_host),
    },
)

DOMAIN_KEYS = Keys(
    entity="storage",
    free=("name",),
    keys={
        "id": Key(StorageDomain.id),
        "name": Key(StorageDomain.name),
        "status": Key(StorageDomain.status),
        "type": Key(sa.literal("data")),
        "size": Key(StorageDomain.total, Kind.NUMBER),
        "datacenter": Key(DataCenter.name, scope=_center_of_domain),
        "datacenter.name": Key(DataCenter.name, scope=_center_of_domain),
    },
)
