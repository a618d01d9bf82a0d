"""New UUIDs of file systems: everything that names the old ones follows, or the operation is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.seal.guests import DEBIAN, listing, make, plant, seal

from vmseal.seal.devices import BlockDevice
from vmseal.seal.errors import SealRefused
from vmseal.seal.fs_uuids import NewUuid, plan
from vmseal.seal.probe import Superblock
from vmseal.seal.randomness import Randomness

OLD, NEW = "11111111-aaaa-4bbb-8ccc-222222222222", "33333333-dddd-4eee-8fff-444444444444"
NAMING = [
    ("/etc/fstab", "UUID={} / ext4 defaults 0 1\n"),
    ("/etc/fstab", "/dev/disk/by-uuid/{} / ext4 defaults 0 1\n"),
    ("/etc/crypttab", "data UUID=0 /dev/disk/by-uuid/{}:/key luks\n"),
    ("/etc/default/grub", 'GRUB_CMDLINE_LINUX="resume=UUID={}"\n'),
    ("/etc/kernel/cmdline", "root=UUID={} ro"),
    ("/etc/initramfs-tools/conf.d/resume", "RESUME=UUID={}\n"),
    ("/etc/systemd/system/srv-data.mount", "[Mount]\nWhat=/dev/disk/by-uuid/{}\n"),
    ("/boot/grub/grub.cfg", "search --no-floppy --fs-uuid --set=root {0}\nlinux /vmlinuz root=UUID={0}\n"),
    ("/boot/grub2/grubenv", "# GRUB Environment Block\nkernelopts=root=UUID={} ro\n#####"),
    ("/boot/loader/entries/1-6.1.conf", "options root=UUID={} ro\n"),
    ("/boot/efi/EFI/debian/grub.cfg", "search.fs_uuid {} root\n"),
    ("/boot/extlinux/extlinux.conf", "append root=UUID={}\n"),
]


def block(kind: str, uuid: str, name: str = "vda1") -> BlockDevice:
    return BlockDevice(name=name, path=Path("/nowhere"), size=1 << 20, superblock=Superblock(type=kind, uuid=uuid))


def perform(guest: Path, *uuids: NewUuid) -> list[str]:
    """Run the operation, and one that is before it; return the warnings."""
    return [text for report in seal(guest, "bash-history", "fs-uuids", uuids=uuids) for text in report.warnings]


@pytest.fixture
def guest(tmp_path: Path) -> Path:
    return make(tmp_path / "guest", DEBIAN)


ROOT = NewUuid(block("ext4", OLD), OLD, NEW)


@pytest.mark.parametrize(("path", "text"), NAMING)
def test_every_file_that_names_the_old_one_names_the_new_one(guest: Path, path: str, text: str) -> None:
    file = plant(guest, path, text.format(OLD))
    assert perform(guest, ROOT) == []
    assert file.read_text() == text.format(NEW)
    assert perform(guest, ROOT) == []
    assert file.read_text() == text.format(NEW)


@pytest.mark.parametrize("text", [f"{OLD}0", f"0{OLD}", f"a-{OLD}", f"{OLD}-b", OLD[:-1]])
def test_what_only_looks_like_it_stays(guest: Path, text: str) -> None:
    file = plant(guest, "/etc/fstab", f"# {text}\n")
    perform(guest, ROOT)
    assert file.read_text() == f"# {text}\n"


def test_small_and_capital_letters_stay_what_they_were(guest: Path) -> None:
    file = plant(guest, "/etc/fstab", f"UUID={OLD.upper()} / ext4\nUUID=ab12-34cd /a vfat\nUUID=AB12-34CD /b vfat\n")
    perform(guest, ROOT, NewUuid(block("vfat", "AB12-34CD"), "AB12-34CD", "EF56-78AB"))
    assert file.read_text() == f"UUID={NEW.upper()} / ext4\nUUID=ef56-78ab /a vfat\nUUID=EF56-78AB /b vfat\n"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/boot/grub/i386-pc/load.cfg", f"search.fs_uuid {OLD} root hd0,msdos1\n"),
        ("/boot/efi/EFI/Linux/arch.efi", "MZ"),
        ("/usr/bin/dracut", "#!/bin/bash\n"),
        ("/usr/sbin/dracut", "#!/bin/bash\n"),
    ],
)
def test_where_the_old_one_is_built_in_it_is_refused_and_nothing_changed(guest: Path, path: str, text: str) -> None:
    plant(guest, path, text)
    plant(guest, "/etc/fstab", f"UUID={OLD} / ext4\n")
    plant(guest, "/root/.bash_history")
    before = listing(guest)
    with pytest.raises(SealRefused, match="would not boot with new UUIDs") as caught:
        perform(guest, ROOT)
    assert caught.value.reason == "unsupported-guest"
    assert listing(guest) == before


def test_an_initramfs_of_dracut_that_fits_any_machine_is_no_reason(guest: Path) -> None:
    plant(guest, "/usr/bin/dracut")
    plant(guest, "/usr/lib/dracut/dracut.conf.d/01-dist.conf", 'hostonly="yes"\n')
    plant(guest, "/usr/lib/dracut/dracut.conf.d/02-generic-image.conf", 'hostonly="no"\n')
    assert perform(guest, ROOT) == []


def test_the_program_of_dracut_s_that_initramfs_tools_uses_on_debian_13_is_no_reason(guest: Path) -> None:
    plant(guest, "/usr/lib/dracut/dracut-install")
    assert perform(guest, ROOT) == []


def test_a_loader_that_names_another_file_system_is_no_reason(guest: Path) -> None:
    plant(guest, "/boot/grub/i386-pc/load.cfg", f"search.fs_uuid {NEW} root hd0,msdos1\n")
    assert perform(guest, ROOT) == []


def test_where_the_initramfs_resumes_from_swap_the_wait_is_told(guest: Path) -> None:
    plant(guest, "/etc/initramfs-tools/initramfs.conf", "MODULES=most\n")
    assert perform(guest, ROOT) == []
    [warning] = perform(guest, NewUuid(block("swap", OLD), OLD, NEW))
    assert "update-initramfs" in warning


def test_each_uuid_gets_one_other_and_what_is_broken_or_unknown_none() -> None:
    devices = [
        block("btrfs", OLD, "vda1"),
        block("btrfs", OLD, "vdb1"),
        block("xfs", "5", "vdc1"),
        block("f2fs", "6", "vdd1"),
        block("swap", "7", "vde1"),
        block("vfat", "8", "vdf1"),
        block("ext4", "", "vdg1"),
    ]
    planned = plan(devices, {"vdc1"}, Randomness(bytes(range(100))))
    assert [wanted.device.name for wanted in planned] == ["vda1", "vde1", "vdf1"]
    assert [len(wanted.new) for wanted in planned] == [36, 36, 9]
    assert len({wanted.new for wanted in planned}) == 3
