"""The guest's fstab: which lines there are, and which device each means."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmseal.seal.devices import BlockDevice
from vmseal.seal.errors import SealRefused
from vmseal.seal.fstab import Entry, Names, names_from, parse, resolve
from vmseal.seal.partitions import Partition
from vmseal.seal.probe import MdMember, Superblock

ARRAY = "00112233445566778899aabbccddeeff"


def device(  # one of the guest's devices
    name: str, kind: str = "", uuid: str = "", label: str = "", *, disk: int = 0, part: Partition | None = None,
    below: tuple[str, ...] = (), mapper: str = "", mapper_uuid: str = "", md: MdMember | None = None,
) -> BlockDevice:  # fmt: skip
    return BlockDevice(
        name=name,
        path=Path("/dev", name),
        size=1 << 30,
        disk=disk,
        partition=part,
        superblock=Superblock(type=kind, uuid=uuid, label=label, md=md),
        has_partitions=disk > 0 and part is None and not kind,
        below=below,
        mapper=mapper,
        mapper_uuid=mapper_uuid,
    )


def part(number: int, uuid: str = "", label: str = "") -> Partition:
    return Partition(number=number, start=number << 20, size=1 << 20, type="0x83", uuid=uuid, label=label)


MEMBER = MdMember(array=ARRAY, name="oldhost:0", level=1, disks=1, role=0, events=1, version="1.2")
DEVICES = [
    device("sda", disk=1),
    device("sda1", "ext4", "0a-0b", "ROOT", disk=1, part=part(1, "p-1", "os"), below=("sda",)),
    device("sda2", "crypto_LUKS", "1111", disk=1, part=part(2), below=("sda",)),
    device("sda5", "linux_raid_member", "md-uuid", "ROOT", disk=1, part=part(5), below=("sda",), md=MEMBER),
    device("sdb", "xfs", "FFFF-1234", disk=2),
    device("dm-0", "ext4", "aaaa", below=("sdc",), mapper="data--vg-home", mapper_uuid="LVM-xyz"),
    device("dm-1", "ext4", "bbbb", below=("sda2",), mapper="luks-1111", mapper_uuid="CRYPT-1"),
    device("md127", "ext4", "cccc", "with space", below=("sda5",)),
]


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("UUID=0a-0b", "sda1"),
        ("UUID=0A-0B", "sda1"),
        ('UUID="0a-0b"', "sda1"),
        ("UUID='0a-0b'", "sda1"),
        ("uuid=0a-0b", "sda1"),
        ("UUID=", None),
        ("UUID=gone", None),
        ("LABEL=ROOT", "sda1"),  # not the member of an array, whose label is the array's name
        ("LABEL=root", None),
        ("LABEL=with\\040space", "md127"),
        ("PARTUUID=P-1", "sda1"),
        ("PARTLABEL=os", "sda1"),
        ("/dev/disk/by-uuid/ffff-1234", "sdb"),
        ("/dev/disk/by-label/with\\x20space", "md127"),
        ("/dev/disk/by-partuuid/p-1", "sda1"),
        ("/dev/disk/by-id/dm-name-data--vg-home", "dm-0"),
        ("/dev/disk/by-id/dm-uuid-LVM-xyz", "dm-0"),
        ("/dev/disk/by-id/md-name-oldhost:0", "md127"),
        ("/dev/disk/by-id/virtio-serial", None),
        ("/dev/disk/by-path/pci-0000", None),
        ("/dev/vda1", "sda1"),
        ("/dev/nvme0n1p1", "sda1"),
        ("/dev/nvme1n1", "sdb"),
        ("/dev/xvdb", "sdb"),
        ("/dev/vdb1", None),
        ("/dev/sdc", None),
        ("/dev/mapper/data--vg-home", "dm-0"),
        ("/dev/data-vg/home", "dm-0"),
        ("/dev/mapper/data--vg-var", None),
        ("/dev/mapper/secret", "dm-1"),
        ("/dev/mapper/nothing", None),
        ("/dev/md0", "md127"),
        ("/dev/md/0", "md127"),
        ("/dev/md5", "md127"),  # as mdadm.conf says
        ("/dev/md1", None),
    ],
)
def test_a_source_means_a_device_or_none(source: str, name: str | None) -> None:
    (entry,) = parse(f"{source} /data auto defaults")
    names = Names({"secret": "/dev/disk/by-uuid/1111", "loop": "/dev/mapper/loop"}, {"/dev/md5": ARRAY})
    found = resolve(entry, DEVICES, names)
    assert (found.name if found else None) == name


def test_a_source_that_several_devices_have_is_refused() -> None:
    copies = [*DEVICES, device("sdd", "ext4", "0A-0B", disk=3)]
    with pytest.raises(SealRefused, match=r"both /dev/sda1 \(disk 1\) and /dev/sdd \(disk 3\)"):
        resolve(Entry("UUID=0a-0b", "/"), copies)


def test_the_devices_of_one_btrfs_are_one() -> None:
    pair = [device("sda", "btrfs", "b-b", disk=1), device("sdb", "btrfs", "b-b", disk=2)]
    assert resolve(Entry("UUID=b-b", "/"), pair) == pair[0]


def test_a_circle_of_crypttab_names_means_nothing() -> None:
    assert resolve(Entry("/dev/mapper/a", "/"), DEVICES, Names({"a": "/dev/mapper/b", "b": "/dev/mapper/a"})) is None


def test_lines_are_read_as_mount_reads_them() -> None:
    text = "# x y z\n\n  #c\nUUID=1 / ext4 defaults 0 1\r\nLABEL=a\\040b\t/my\\040data//x/  xfs\n"
    text += "/dev/sda2 none swap sw 0 0"
    assert parse(text) == [
        Entry("UUID=1", "/", "ext4", ("defaults",)),
        Entry("LABEL=a b", "/my data/x", "xfs", ()),
        Entry("/dev/sda2", "none", "swap", ("sw",)),
    ]


@pytest.mark.parametrize(
    "line", ["broken line", "UUID=1", "UUID=1 home ext4 defaults", "a b \x01\x02 c", "<<<<<<< HEAD"]
)
def test_a_line_that_cannot_be_read_is_refused_by_its_number(line: str) -> None:
    with pytest.raises(SealRefused, match="line 2 of the guest's /etc/fstab") as refused:
        parse(f"UUID=1 / ext4\n{line}\n")
    assert refused.value.reason == "unresolved-mount"


@given(st.binary(max_size=200))
def test_garbage_is_read_or_refused(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    try:
        entries = parse(text)
    except SealRefused:
        return
    for entry in entries:
        resolve(entry, DEVICES, names_from(text, text))
        assert isinstance(entry.is_required, bool)


@pytest.mark.parametrize(
    ("line", "required"),
    [
        ("UUID=1 /home ext4", True),
        ("UUID=1 /home ext4 noauto", False),
        ("UUID=1 /home ext4 nofail", True),  # there is something to seal
        ("UUID=1 /data ext4 nofail", False),
        ("UUID=1 /data ext4", True),
        ("UUID=1 /media/x ext4", False),
        ("UUID=1 /data ext4 _netdev", False),
        ("nas:/home /home nfs", False),
        ("//nas/home /home auto", False),
        ("tmpfs /tmp tmpfs", False),
        ("/dev/sdb swap swap", False),
        ("/data/home /home none bind", False),
        ("/images/x.img /home ext4 loop", False),
    ],
)
def test_what_the_guest_needs_from_its_disks_is_required(line: str, required: bool) -> None:
    assert parse(line)[0].is_required is required


def test_names_come_from_crypttab_and_mdadm_conf() -> None:
    names = names_from(
        "# c\nsecret UUID=1111 none luks\nodd\n", f"MAILADDR root\nARRAY /dev/md5 metadata=1.2 UUID={ARRAY}\n"
    )
    assert names == Names({"secret": "UUID=1111"}, {"/dev/md5": ARRAY})
