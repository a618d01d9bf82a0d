"""What virt-sysprep is asked to do beyond its defaults, so that the result is right for this guest."""

from __future__ import annotations

from pathlib import Path

from vmseal.seal.first_boot import SSH_HOSTKEYS
from vmseal.seal.settings import MachineId
from vmseal.sealers.inspection import Inspection
from vmseal.sealers.sealer import RequestNotPossible, SealRequest

PROFILE = "sysprep"  # virt-sysprep's defaults are what it can do
# virt-sysprep fills these with fresh bytes, the same in every clone. systemd and the init scripts make new ones.
RANDOM_SEEDS = (
    "/var/lib/systemd/random-seed",
    "/var/lib/random-seed",
    "/var/lib/urandom/random-seed",
    "/var/lib/misc/random-seed",
    "/var/lib/seedrng/*",
    "/etc/random-seed",
    "/efi/loader/random-seed",
    "/boot/loader/random-seed",
    "/boot/efi/loader/random-seed",
)
# LVM ignores a disk that is not listed here, and lvm-uuids changes what the list goes by. It is made anew when absent.
LVM_DEVICES = "/etc/lvm/devices/system.devices"
# Distributions whose host name virt-sysprep 1.48 and later set; for others it warns and leaves the old name.
HOSTNAME_SET = frozenset({
    "centos", "debian", "fedora", "kalilinux", "opensuse", "oraclelinux", "redhat-based", "rhel", "scientificlinux",
    "sles", "suse-based", "ubuntu",
})  # fmt: skip


def require_possible(request: SealRequest) -> None:
    """Raise unless virt-sysprep can do what is asked for.

    Raises:
        RequestNotPossible: with what it cannot do.

    """
    asked = {
        f"the profile {request.profile}": request.profile not in (None, PROFILE),
        "erasing": bool(request.erase),
        f"a machine-id that is {request.machine_id}": request.machine_id not in (None, MachineId.EMPTY),
        "keys of encrypted disks": bool(request.keys),
    }
    if cannot := [what for what, wanted in asked.items() if wanted]:
        raise RequestNotPossible(f"virt-sysprep cannot do this: {', '.join(cannot)}; the sealer appliance can")


def options(request: SealRequest, inspection: Inspection, folder: Path) -> list[str]:
    """Return the options for this guest; files that are to be uploaded are put into ``folder``."""
    chosen = [*request.passed]
    if request.operations is not None:
        chosen += ["--operations", ",".join(request.operations)]
    if request.mount_options:
        chosen += ["--mount-options", ";".join(f"{point}:{words}" for point, words in request.mount_options.items())]
    chosen += [word for user in request.remove_users for word in ("--remove-user-accounts", user)]
    chosen += [word for user in request.keep_users for word in ("--keep-user-accounts", user)]
    return chosen + (_customize(request, inspection, folder) if includes(request, "customize") else [])


def includes(request: SealRequest, operation: str) -> bool:
    """Whether an operation that is on by default is among those that the request selects."""
    included = request.operations is None
    for word in request.operations or ():
        if word.removeprefix("-") in (operation, "defaults", "all"):
            included = not word.startswith("-")
    return included


def empties_machine_id(request: SealRequest, inspection: Inspection) -> bool:
    """Whether the guest's machine-id has to be empty afterwards."""
    wanted = includes(request, "customize") and includes(request, "machine-id")
    return inspection.machine_id_is_file and wanted


def _customize(request: SealRequest, inspection: Inspection, folder: Path) -> list[str]:
    chosen = ["--hostname", request.hostname]
    chosen += ["--selinux-relabel" if request.selinux_relabel else "--no-selinux-relabel"]
    if sets_hostname_itself(inspection):
        chosen += ["--write", f"/etc/hostname:{request.hostname}\n"]
    for path in (*RANDOM_SEEDS, LVM_DEVICES):
        chosen += ["--delete", path]
    if needs_host_keys(inspection):
        chosen += _first_boot_unit(folder)
    if empties_machine_id(request, inspection):
        chosen += ["--truncate", "/etc/machine-id"]  # the last word: virt-sysprep has written a fresh id by now
    return chosen


def needs_host_keys(inspection: Inspection) -> bool:
    """Whether the guest gets the unit that makes missing SSH host keys."""
    return inspection.ssh_server and inspection.systemd and not inspection.makes_host_keys


def sets_hostname_itself(inspection: Inspection) -> bool:
    """Whether the host name is written here because virt-sysprep does not know how to set it in this guest."""
    return inspection.system.distro not in HOSTNAME_SET


def _first_boot_unit(folder: Path) -> list[str]:
    unit = SSH_HOSTKEYS
    local = folder / unit.name
    local.write_text(unit.content())
    local.chmod(0o644)
    chosen = [word for link in unit.links for word in ("--mkdir", str(Path(link).parent))]
    chosen += ["--upload", f"{local}:{unit.path}", "--chmod", f"0644:{unit.path}"]
    return chosen + [word for link in unit.links for word in ("--link", f"{unit.path}:{link}")]
