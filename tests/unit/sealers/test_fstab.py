"""fstab entries: which matter, and which device they mean."""

from __future__ import annotations

import pytest

from vmseal.sealers.fstab import BlockDevice, Entry, parse, resolve

DEVICES = [
    BlockDevice("/dev/sda", {}),
    BlockDevice("/dev/sda1", {"TYPE": "ext4", "UUID": "0a-0b", "LABEL": "ROOT", "PARTUUID": "p-1", "PARTLABEL": "os"}),
    BlockDevice("/dev/sda2", {"TYPE": "swap", "UUID": "5555"}),
    BlockDevice("/dev/sdb", {"TYPE": "xfs", "UUID": "ffff"}),
    BlockDevice("/dev/data-vg/home", {"TYPE": "ext4", "UUID": "aaaa"}),
    BlockDevice("/dev/md127", {"TYPE": "ext4", "LABEL": "with space"}),
]


def entry(source: str, target: str = "/data", kind: str = "ext4", options: str = "defaults") -> Entry:
    return Entry(source, target, kind, tuple(options.split(",")))


def test_parse_takes_entries_and_leaves_comments() -> None:
    text = "# comment\n\nUUID=1 / ext4 defaults 0 1\n  #x y z\nLABEL=a\\040b\t/my\\040data/  xfs\nbroken line\n"
    assert parse(text) == [
        Entry("UUID=1", "/", "ext4", ("defaults",)),
        Entry("LABEL=a b", "/my data", "xfs", ()),
    ]


@pytest.mark.parametrize(
    ("source", "device"),
    [
        ("UUID=0a-0b", "/dev/sda1"),
        ("UUID=0A-0B", "/dev/sda1"),
        ("LABEL=ROOT", "/dev/sda1"),
        ("LABEL=root", None),
        ("PARTUUID=p-1", "/dev/sda1"),
        ("PARTLABEL=os", "/dev/sda1"),
        ("/dev/disk/by-uuid/ffff", "/dev/sdb"),
        ("/dev/disk/by-label/with\\x20space", "/dev/md127"),
        ("/dev/disk/by-path/pci-0000", None),
        ("/dev/vda1", "/dev/sda1"),
        ("/dev/xvdb", "/dev/sdb"),
        ("/dev/hda2", "/dev/sda2"),
        ("/dev/vdb1", None),
        ("/dev/sdc", None),
        ("/dev/mapper/data--vg-home", "/dev/data-vg/home"),
        ("/dev/data-vg/home", "/dev/data-vg/home"),
        ("/dev/mapper/data--vg-var", None),
        ("/dev/md127", "/dev/md127"),
        ("UUID=gone", None),
    ],
)
def test_a_source_means_a_device_or_none(source: str, device: str | None) -> None:
    assert resolve(entry(source), DEVICES, disks=2) == device


def test_a_guest_name_beyond_the_disks_means_none() -> None:
    assert resolve(entry("/dev/vdb"), DEVICES, disks=1) is None


@pytest.mark.parametrize(
    ("candidate", "wanted", "required"),
    [
        (entry("UUID=1"), True, True),
        (entry("UUID=1", options="noauto"), False, False),
        (entry("UUID=1", options="defaults,nofail"), True, False),
        (entry("UUID=1", "/home", options="nofail"), True, True),
        (entry("UUID=1", "/var/lib/docker", options="nofail"), True, True),
        (entry("UUID=1", "/variable", options="nofail"), True, False),
        (entry("UUID=1", "/", options="nofail"), True, True),
        (entry("UUID=1", "none", "swap"), True, False),
        (entry("UUID=1", options="_netdev"), False, False),
        (entry("server:/export", kind="nfs"), False, False),
        (entry("10.0.0.1:/export", kind="auto"), False, False),
        (entry("//server/share", kind="cifs"), False, False),
        (entry("tmpfs", "/tmp", "tmpfs"), False, False),
        (entry("proc", "/proc", "proc"), False, False),
        (entry("/srv/a", "/srv/b", "none", "bind"), False, False),
        (entry("/swapfile", "none", "swap"), False, False),
        (entry("/dev/sr0", "/media/cdrom0"), False, False),
        (entry("me@host:", "/mnt", "fuse.sshfs"), False, False),
    ],
)
def test_what_is_wanted_and_what_is_required(candidate: Entry, *, wanted: bool, required: bool) -> None:
    assert (candidate.is_wanted, candidate.is_required) == (wanted, required)
