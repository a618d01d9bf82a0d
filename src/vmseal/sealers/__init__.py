"""What seals a set of disks together; used by the host agent and by ``vmseal seal``."""
