"""The API's root, and the users."""

from __future__ import annotations

import sqlalchemy as sa

from vmseal.engine.accounts import shown_name, user_id
from vmseal.engine.api.exchange import View
from vmseal.engine.api.faults import not_found
from vmseal.engine.api.lists import empty_lists
from vmseal.engine.api.representation.body import canonical_uuid
from vmseal.engine.api.representation.entity import Entity, Listing, reference
from vmseal.engine.api.representation.resource import Resource, always
from vmseal.engine.api.routes import Route, read
from vmseal.engine.tables import BLANK_TEMPLATE, Base, Host, StorageDomain, Vm, now
from vmseal.model.entities import DomainStatus, HostStatus

# The version of oVirt whose API this is; clients choose what to send by it.
MAJOR, MINOR, BUILD, REVISION = 4, 5, 7, 0

COLLECTIONS = (
    "clusters",
    "cpuprofiles",
    "datacenters",
    "diskprofiles",
    "disks",
    "events",
    "hosts",
    "imagetransfers",
    "instancetypes",
    "jobs",
    "networks",
    "permissions",
    "storagedomains",
    "tags",
    "templates",
    "users",
    "vmpools",
    "vms",
    "vnicprofiles",
)

USER = Resource[str](
    tag="user",
    plural="users",
    identify=user_id,
    href=lambda name: f"/users/{user_id(name)}",
    fields={
        "name": lambda name: name.rpartition("@")[0],
        "user_name": shown_name,
        "principal": lambda name: name.rpartition("@")[0],
        "namespace": always("*"),
    },
    links=("permissions", "tags"),
)


def _product() -> Entity:
    version: Entity = Entity("version")
    for name, value in (("major", MAJOR), ("minor", MINOR), ("build", BUILD), ("revision", REVISION)):
        version.fields[name] = value
    version.fields["full_version"] = f"{MAJOR}.{MINOR}.{BUILD}"
    return Entity("product_info", fields={"name": "oVirt Engine", "vendor": "vmseal", "version": version})


def _count(view: View, table: type[Base], active: sa.ColumnElement[bool]) -> Entity:
    total = view.session.scalar(sa.select(sa.func.count()).select_from(table))
    running = view.session.scalar(sa.select(sa.func.count()).select_from(table).where(active))
    return Entity("count", fields={"active": running or 0, "total": total or 0})


def _summary(view: View) -> Entity:
    users = len(view.accounts.user_names)
    return Entity(
        "summary",
        fields={
            "hosts": _count(view, Host, Host.status == HostStatus.UP),
            "storage_domains": _count(view, StorageDomain, StorageDomain.status == DomainStatus.ACTIVE),
            "users": Entity("users", fields={"active": users, "total": users}),
            "vms": _count(view, Vm, sa.false()),  # none ever runs here
        },
    )


def get_root(view: View) -> Entity:
    """Return what there is, in which version, and who asks."""
    blank = reference("blank_template", "templates", BLANK_TEMPLATE)
    return Entity(
        "api",
        links={name: f"/{name}" for name in COLLECTIONS},
        fields={
            "product_info": _product(),
            "special_objects": Entity("special_objects", fields={"blank_template": blank}),
            "summary": _summary(view),
            "time": now(),
            "authenticated_user": reference("authenticated_user", "users", user_id(view.user_name)),
            "effective_user": reference("effective_user", "users", user_id(view.user_name)),
        },
    )


def list_users(view: View) -> Listing:
    """List the users."""
    return USER.listing(view.accounts.user_names)


def require_user(view: View, key: str) -> str:
    """Return the name of a user; a fault when there is none of that id."""
    canonical = canonical_uuid(key)
    for name in view.accounts.user_names:
        if user_id(name) == canonical:
            return name
    raise not_found("User", key)


ROUTES: tuple[Route, ...] = (
    read("/", get_root),
    read("/users", list_users),
    read("/users/{}", lambda view, key: USER.entity(require_user(view, key))),
    *empty_lists("/users/{}", {"permissions": ("permissions", "permission"), "tags": ("tags", "tag")}, require_user),
)
