"""The appliance: a microVM of our own, restored from a snapshot, that runs ``vmseal.seal`` on the disks."""

from vmseal.sealers.appliance.appliance import MEMORY, Appliance

__all__ = ["MEMORY", "Appliance"]
