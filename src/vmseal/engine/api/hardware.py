"""What VMs and templates show alike: the virtual hardware, most of which vmseal does not let anyone choose."""

from __future__ import annotations

from collections.abc import Callable

from vmseal.engine.api.representation.entity import Entity, Listing, Value
from vmseal.engine.api.representation.resource import always, empty
from vmseal.engine.tables import Template, Vm

MAX_MEMORY_FACTOR = 4  # oVirt's default: memory can be plugged up to four times the start value


def _boot_devices(_row: object) -> Value:
    return Entity("boot", fields={"devices": Listing("devices", "device", ["hd"])})


FIELDS: dict[str, Callable[[Vm | Template], Value]] = {
    "bios.boot_menu.enabled": always(False),
    "bios.type": always("q35_sea_bios"),
    "cpu.architecture": always("x86_64"),
    "cpu.topology.cores": lambda row: row.cores,
    "cpu.topology.sockets": always(1),
    "cpu.topology.threads": always(1),
    "creation_time": lambda row: row.created,
    "delete_protected": always(False),
    "display.type": always("vnc"),
    "display.monitors": always(1),
    "display.smartcard_enabled": always(False),
    "high_availability.enabled": always(False),
    "high_availability.priority": always(0),
    "io.threads": always(0),
    "memory": lambda row: row.memory,
    "memory_policy.ballooning": always(True),
    "memory_policy.guaranteed": lambda row: row.memory,
    "memory_policy.max": lambda row: row.memory * MAX_MEMORY_FACTOR,
    "multi_queues_enabled": always(True),
    "os.boot": _boot_devices,
    "os.type": lambda row: row.os_type,
    "origin": always("ovirt"),
    "placement_policy.affinity": always("migratable"),
    "sso.methods": lambda _row: Listing("methods", "method"),
    "soundcard_enabled": always(False),
    "start_paused": always(False),
    "stateless": always(False),
    "time_zone.name": always("Etc/GMT"),
    "type": always("server"),
    "usb.enabled": always(False),
    "virtio_scsi.enabled": always(True),
    "custom_properties": empty("custom_properties"),
}
