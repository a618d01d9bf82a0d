"""The appliance: a microVM of our own, restored from a snapshot, that runs ``vmseal.seal`` on the disks."""
