"""What is concluded from guestfish's answers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from vmseal.seal.guest import KEY_UNITS
from vmseal.sealers.inspection import EMPTIED, SSHD, Inspection, inspect
from vmseal.sealers.libguestfs import CommandFailed, Guestfish, quoted
from vmseal.sealers.sealer import (
    EncryptedGuest,
    NoOperatingSystem,
    SealError,
    SeveralOperatingSystems,
    UnresolvedMount,
    UnsupportedGuest,
    WindowsGuest,
)

Answers = Mapping[str, Sequence[str]]
DEBIAN: Answers = {
    "list-filesystems": ["/dev/sda1: ext4", "/dev/sda2: swap"],
    "list-devices": ["/dev/sda"],
    "inspect-os": ["/dev/sda1"],
    "inspect-get-type /dev/sda1": ["linux"],
    "inspect-get-distro /dev/sda1": ["debian"],
    "inspect-get-hostname /dev/sda1": ["source"],
    "inspect-get-mountpoints /dev/sda1": ["/: /dev/sda1"],
    "is-file /etc/fstab": ["true"],
    "is-file /etc/machine-id": ["true"],
    "is-file /etc/os-release": ["true"],
    "cat /etc/fstab": ["UUID=r00t / ext4 errors=remount-ro 0 1", "UUID=5wap none swap sw 0 0"],
    "cat /etc/os-release": ["ID=debian", 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"'],
    "blkid /dev/sda1": ["UUID: r00t", "TYPE: ext4", "PART_ENTRY_UUID: p1"],
    "blkid /dev/sda2": ["UUID: 5wap"],
    "is-symlink /sbin/init": ["true"],
    "readlink /sbin/init": ["/lib/systemd/systemd"],
    f"glob-expand {SSHD}": ["/usr/sbin/sshd"],
}


class Answering(Guestfish):
    """Answers from a table; what is not in it is false, or no lines."""

    def __init__(self, answers: Answers, failing: Sequence[str] = ()) -> None:
        self._answers = answers
        self._failing = failing

    async def ask(self, command: str, *arguments: str) -> list[str]:
        words = " ".join([command, *(word for word in arguments if word != "followsymlinks:true")])
        if words in self._failing:
            raise CommandFailed(f"{words}: failed")
        return list(self._answers.get(words, ["false"] if command.startswith("is-") else []))


def look(changes: Answers, *, failing: Sequence[str] = (), disks: int = 1) -> Inspection:
    return asyncio.run(inspect(Answering({**DEBIAN, **changes}, failing), disks))


def refused(changes: Answers, *, failing: Sequence[str] = ()) -> SealError:
    with pytest.raises(SealError) as caught:
        look(changes, failing=failing)
    return caught.value


def test_a_debian_guest() -> None:
    found = look({})
    assert (found.system.product, found.system.hostname) == ("Debian GNU/Linux 12 (bookworm)", "source")
    assert found.system.mount_points == {"/": "/dev/sda1"}
    assert (found.machine_id_is_file, found.ssh_server, found.systemd, found.makes_host_keys) == (
        True,
        True,
        True,
        False,
    )
    assert found.warnings == []


def test_units_that_make_host_keys_are_noticed_but_for_those_of_a_first_boot_only() -> None:
    unit = "/usr/lib/systemd/system/sshd-keygen@.service"
    answers = {f"glob-expand {KEY_UNITS}": [unit], f"is-file {unit}": ["true"], f"cat {unit}": ["[Unit]"]}
    assert look(answers).makes_host_keys
    assert not look({**answers, f"cat {unit}": ["[Unit]", "ConditionFirstBoot=yes"]}).makes_host_keys


def test_another_init_is_noticed() -> None:
    assert not look({"readlink /sbin/init": ["/bin/busybox"]}).systemd


def test_no_system() -> None:
    error = refused({"inspect-os": []})
    assert isinstance(error, NoOperatingSystem)
    assert "/dev/sda1 (disk 1): ext4" in str(error)


def test_windows() -> None:
    assert isinstance(refused({"inspect-get-type /dev/sda1": ["windows"]}), WindowsGuest)
    assert isinstance(refused({"list-filesystems": ["/dev/sda1: BitLocker"], "inspect-os": []}), WindowsGuest)


def test_a_system_that_is_not_linux() -> None:
    assert isinstance(refused({"inspect-get-type /dev/sda1": ["freebsd"]}), UnsupportedGuest)


def test_encrypted_and_hibernated_guests() -> None:
    assert isinstance(refused({"list-filesystems": ["/dev/sda1: ext4", "/dev/sda3: crypto_LUKS"]}), EncryptedGuest)
    assert isinstance(refused({"list-filesystems": ["/dev/sda1: ext4", "/dev/sda2: swsuspend"]}), UnsupportedGuest)


def test_several_systems_and_snapshots() -> None:
    assert isinstance(refused({"inspect-os": ["/dev/sda1", "/dev/sdb1"]}), SeveralOperatingSystems)
    error = refused({"inspect-os": ["btrfsvol:/dev/sda1/@", "btrfsvol:/dev/sda1/@snapshot"]})
    assert "delete them in the guest first" in str(error)


def test_a_missing_file_system_names_its_entry() -> None:
    error = refused({"cat /etc/fstab": ["UUID=gone /home ext4 defaults 0 2"]})
    assert isinstance(error, UnresolvedMount)
    assert "UUID=gone on /home" in str(error)
    assert "Add the missing disk" in str(error)


def test_a_file_system_that_libguestfs_cannot_mount() -> None:
    error = refused(
        {
            "inspect-get-mountpoints /dev/sda1": ["/: /dev/sda1", "/srv: /dev/sdb"],
            "list-devices": ["/dev/sda", "/dev/sdb"],
            "blkid /dev/sdb": ["UUID: data"],
            "cat /etc/fstab": ["UUID=data /srv xfs defaults 0 2"],
        },
        failing=["mount-ro /dev/sdb /srv"],
    )
    assert isinstance(error, UnresolvedMount)
    assert "/dev/sdb (disk 2)" in str(error)


def test_optional_file_systems_and_swap_are_warnings() -> None:
    found = look({"cat /etc/fstab": ["UUID=gone /data ext4 nofail 0 2", "UUID=gone2 none swap sw 0 0"]})
    assert len(found.warnings) == 2
    assert "UUID=gone on /data" in found.warnings[0]


def test_an_efi_partition_by_partuuid_is_a_warning() -> None:
    found = look({"cat /etc/fstab": ["PARTUUID=p1 /boot/efi vfat umask=0077 0 1"]})
    assert len(found.warnings) == 1


def test_a_device_that_need_not_be_mounted_is_remembered() -> None:
    found = look(
        {
            "inspect-get-mountpoints /dev/sda1": ["/: /dev/sda1", "/mnt/stick: /dev/vdc"],
            "cat /etc/fstab": ["/dev/vdc /mnt/stick ext4 noauto 0 0"],
        },
        failing=["mount-ro /dev/vdc /mnt/stick"],
    )
    assert (found.not_mounted, found.warnings) == (frozenset(["/dev/vdc"]), [])
    assert found.system.mount_points == {"/": "/dev/sda1"}


def test_disks_in_the_wrong_order() -> None:
    error = refused({"inspect-get-mountpoints /dev/sda1": ["/: /dev/vdb"]})
    assert isinstance(error, UnresolvedMount)
    assert "order" in str(error)


def test_a_link_that_virt_sysprep_would_follow() -> None:
    changes = {f"glob-expand {EMPTIED}": ["/tmp/dir/", "/tmp/link/", "/tmp/file"], "is-symlink /tmp/link": ["true"]}
    error = refused(changes)
    assert isinstance(error, UnsupportedGuest)
    assert "/tmp/link in the guest" in str(error)


def test_names_from_the_guest_cannot_leave_their_quotes() -> None:
    assert quoted('a"b\\c | sh') == '"a\\"b\\\\c | sh"'
    with pytest.raises(CommandFailed, match="control characters"):
        quoted("/dev/x\n!sh")
