"""Answering a request on real block devices: what is put together, mounted, sealed, refused, and left as it was."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.erase_rig import sparse

from vmseal.seal import catalogue, fs_uuids, lvm_uuids, mounting, mounts, read_ahead, service
from vmseal.seal.catalogue import Kind, Operation, Profile
from vmseal.seal.devices import BlockDevice
from vmseal.seal.lvm import find_groups
from vmseal.seal.probe import probe
from vmseal.seal.randomness import Randomness

UUID = "11111111-2222-4333-8444-555555555555"
MIB = 1 << 20
TABLE = re.compile(r"start=\s*(\d+), size=\s*(\d+)")  # sectors, in sfdisk's dump
Message = dict[str, object]


class Guests:
    """Makes disks and attaches them; takes everything away in the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.loops: dict[Path, str] = {}

    def tree(self, fstab: str = f"UUID={UUID} / auto defaults 0 1\n", name: str = "tree") -> Path:
        top = self.folder / name
        for folder in ("etc", "usr/bin", "home/u", "root", "var/log", "tmp", "srv"):
            (top / folder).mkdir(parents=True)
        (top / "bin").symlink_to("/usr/bin")
        (top / "etc/os-release").write_text('ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Test Linux"\n')
        (top / "etc/fstab").write_text(fstab)
        (top / "root/.bash_history").write_text("secret\n")
        return top

    def image(self, name: str, size: int, *command: str) -> Path:
        return sparse(self.folder / name, size, *command)

    def root(self, tree: Path, name: str = "root.img", size: int = 48) -> Path:
        return self.image(name, size, "mke2fs", "-q", "-t", "ext4", "-U", UUID, "-d", str(tree))

    def disk(self, *images: Path, name: str = "disk.img", types: str = "") -> Path:
        """Put file systems side by side on a disk with a GPT."""
        starts = [1 + sum(image.stat().st_size // MIB for image in images[:number]) for number in range(len(images))]
        path = self.image(name, starts[-1] + images[-1].stat().st_size // MIB + 1)
        lines = [
            f"start={start}MiB,size={image.stat().st_size // MIB}MiB,name={image.stem}{types}"
            for start, image in zip(starts, images, strict=True)
        ]
        run("sfdisk", "-q", str(path), text="\n".join(["label: gpt", *lines, ""]))
        for start, image in zip(starts, images, strict=True):
            run("dd", f"if={image}", f"of={path}", "bs=1M", f"seek={start}", "conv=notrunc,sparse", "status=none")
        return path

    def cut(self, disk: Path) -> list[Path]:
        """Return a copy of each partition."""
        parts = []
        for start, size in TABLE.findall(run("sfdisk", "-d", str(disk))):
            part = self.folder / f"part{start}.img"
            place = [f"skip={int(start) * 512 // MIB}", f"count={int(size) * 512 // MIB}"]
            run("dd", f"if={disk}", f"of={part}", "bs=1M", *place, "conv=sparse", "status=none")
            parts.append(part)
        return parts

    def attach(self, path: Path) -> str:
        self.loops[path] = run("losetup", "--find", "--show", "--partscan", str(path)).strip()
        return self.loops[path]

    def detach(self) -> None:
        for loop in self.loops.values():
            run("losetup", "--detach", loop)
        self.loops.clear()

    def clear(self) -> None:
        for line in reversed(Path("/proc/self/mounts").read_text("utf-8").splitlines()):
            point = line.split()[1]
            if point.startswith((str(mounts.GUEST), str(mounting.LOOK), str(self.folder))):
                subprocess.run(["umount", "--lazy", point], check=True)
        self.detach()


@pytest.fixture
def guests(tmp_path: Path) -> Iterator[Guests]:
    made = Guests(tmp_path)
    yield made
    made.clear()


def run(*command: str, text: str | None = None) -> str:
    program = shutil.which(command[0], path="/usr/sbin:/sbin:/usr/bin:/bin")
    assert program, f"{command[0]} is not installed: run scripts/setup.sh"
    done = subprocess.run([program, *command[1:]], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


HISTORY = Operation(name="history", why="x", kind=Kind.HISTORY, profile=Profile.SYSPREP, remove=("~/.bash_history",))


def seal(guests: Guests, *disks: Path, operation: Operation = HISTORY, **settings: bool) -> Message:
    """Answer a request and return its last message; nothing may stay mounted, whatever it is."""
    devices = [{"name": str(disk), "device": guests.attach(disk)} for disk in disks]
    messages: list[Message] = []
    request = {
        "verb": "seal",
        "disks": devices,
        "operations": [catalogue.to_json(operation)],
        "settings": {"erase": False, **settings},
        "keys": [],
        "random": os.urandom(4096).hex(),
    }
    service.answer(request, messages.append)
    assert [message["event"] for message in messages[:-1]] == ["progress"] * (len(messages) - 1)
    assert messages[-1]["event"] in {"report", "error"}
    assert "/run/vmseal/" not in Path("/proc/self/mounts").read_text("utf-8")
    guests.detach()  # fails if something is still open
    return messages[-1]


def sealed(guests: Guests, *disks: Path, erase: bool = False, dry_run: bool = False) -> dict[str, object]:
    message = seal(guests, *disks, erase=erase, dry_run=dry_run)
    assert message["event"] == "report", message
    report = message["report"]
    assert isinstance(report, dict)
    return report


def refused(guests: Guests, *disks: Path) -> tuple[object, str]:
    """Return reason and text; the disks must be untouched, and must be said to be."""
    before = [hashlib.sha256(disk.read_bytes()).digest() for disk in disks]
    message = seal(guests, *disks)
    assert message["event"] == "error", message
    assert message["untouched"] is True
    assert [hashlib.sha256(disk.read_bytes()).digest() for disk in disks] == before
    return message["reason"], str(message["message"])


def debugfs(image: Path, command: str, offset: int = 0) -> str:
    return run("debugfs", "-R", command, f"{image}?offset={offset}")


def test_a_guest_on_partitions_is_mounted_by_its_fstab_and_sealed(
    guests: Guests, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    monkeypatch.setattr(read_ahead, "read_folders", lambda _top, point, _device: read.append(point))
    tree = guests.tree(f"UUID={UUID} / ext4\nPARTLABEL=home /home xfs\n/dev/vda3 none swap sw 0 0\n")
    home = guests.image("home.img", 310, "mkfs.xfs", "-q")
    disk = guests.disk(guests.root(tree), home, guests.image("swap.img", 8, "mkswap", "-q"))
    report = sealed(guests, disk)
    guest = report["guest"]
    assert isinstance(guest, dict)
    assert list(guest["mount_points"]) == ["/", "/home"]
    assert guest["mount_points"]["/home"].endswith("p2 (disk 1)")
    assert guest["product"] == "Test Linux"
    assert report["not_sealed"] == []
    assert ".bash_history" not in debugfs(disk, "ls /root", MIB)
    assert read == ["/"]  # of an ext4 only


def test_a_file_system_on_the_whole_disk_will_do(guests: Guests) -> None:
    disk = guests.root(guests.tree())
    assert sealed(guests, disk)["dry_run"] is False
    assert ".bash_history" not in debugfs(disk, "ls /root")


def test_erasing_comes_after_unmounting(guests: Guests) -> None:
    disk = guests.disk(guests.root(guests.tree()), guests.image("swap.img", 8, "mkswap", "-q"))
    assert b"secret\n" in disk.read_bytes()
    erased = sealed(guests, disk, erase=True)["erased"]
    assert isinstance(erased, dict)
    assert {"ext4", "swap", "gaps"} <= {account["kind"] for account in erased["devices"]}
    assert b"secret\n" not in disk.read_bytes()


def test_a_swap_file_loses_what_was_swapped_out(guests: Guests) -> None:
    tree = guests.tree(f"UUID={UUID} / ext4\n/data/../swapfile none swap sw 0 0\n")
    guests.image("tree/swapfile", 2, "mkswap", "-q")
    with (tree / "swapfile").open("r+b") as file:
        file.seek(MIB)
        file.write(b"swapped out")
    disk = guests.root(tree)
    erased = sealed(guests, disk, erase=True)["erased"]
    assert isinstance(erased, dict)
    assert "/swapfile" in {account["device"] for account in erased["devices"]}
    assert b"swapped out" not in disk.read_bytes()


def test_a_dry_run_reports_the_same_and_writes_nothing(guests: Guests) -> None:
    disk = guests.root(guests.tree())
    before = disk.read_bytes()
    report = sealed(guests, disk, dry_run=True, erase=True)
    assert disk.read_bytes() == before
    operations = report["operations"]
    assert isinstance(operations, list)
    assert [path["path"] for path in operations[0]["paths"]] == ["/root/.bash_history"]
    assert report["erased"] is None


def test_disks_in_another_order_are_fine_where_the_fstab_does_not_name_them(guests: Guests) -> None:
    data = guests.image("data.img", 16, "mke2fs", "-q", "-t", "ext4", "-L", "srv")
    root = guests.root(guests.tree(f"UUID={UUID} / ext4\nLABEL=srv /srv ext4\n"))
    report = sealed(guests, data, root)
    guest = report["guest"]
    assert isinstance(guest, dict)
    assert {point: device[-8:] for point, device in guest["mount_points"].items()} == {
        "/": "(disk 2)",
        "/srv": "(disk 1)",
    }


def test_disks_in_another_order_are_refused_where_the_fstab_names_them(guests: Guests) -> None:
    data = guests.image("data.img", 16, "mke2fs", "-q", "-t", "ext4")
    root = guests.root(guests.tree("/dev/vda / ext4\n/dev/vdb /srv ext4\n"))
    reason, text = refused(guests, data, root)
    assert reason == "unresolved-mount"
    assert "in the order in which the machine has them" in text


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("UUID=99999999-2222-4333-8444-555555555555 /home ext4 defaults 0 2", "/home"),
        ("/dev/vdb1 /var ext4 defaults 0 2", "/dev/vdb1"),
        ("/dev/mapper/vg-home /home ext4 defaults,nofail 0 2", "/dev/mapper/vg-home"),
        ("half a", "line 2"),
    ],
)
def test_what_the_guest_mounts_and_is_not_there_is_refused(guests: Guests, line: str, word: str) -> None:
    reason, text = refused(guests, guests.root(guests.tree(f"UUID={UUID} / ext4\n{line}\n")))
    assert reason == "unresolved-mount"
    assert word in text


def test_what_the_guest_can_do_without_is_reported(guests: Guests) -> None:
    lines = "LABEL=gone /data ext4 nofail\n/images/a.img /mnt ext4 loop\nnas:/x /nas nfs defaults\ntmpfs /tmp tmpfs\n"
    other = guests.image("other.img", 16, "mke2fs", "-q", "-t", "ext4")
    report = sealed(guests, guests.root(guests.tree(f"UUID={UUID} / ext4\n{lines}")), other)
    not_sealed = report["not_sealed"]
    assert isinstance(not_sealed, list)
    assert [line.split()[0] for line in not_sealed] == ["LABEL=gone", "/images/a.img", guests_loop(not_sealed)]
    assert "does not mount" in not_sealed[2]


def guests_loop(lines: list[str]) -> str:
    return next(word for line in lines for word in line.split() if word.startswith("/dev/loop"))


def test_two_systems_are_refused(guests: Guests) -> None:
    one = guests.root(guests.tree())
    other = guests.image("b.img", 48, "mke2fs", "-q", "-t", "ext4", "-d", str(guests.tree(name="other")))
    reason, text = refused(guests, one, other)
    assert reason == "several-operating-systems"
    assert "Test Linux" in text


def test_copies_of_a_disk_are_refused(guests: Guests) -> None:
    data = guests.image("data.img", 16, "mke2fs", "-q", "-t", "ext4", "-L", "srv")
    copy = guests.folder / "copy.img"
    shutil.copyfile(data, copy)
    root = guests.root(guests.tree(f"UUID={UUID} / ext4\nLABEL=srv /srv ext4\n"))
    assert refused(guests, root, data, copy)[0] == "unresolved-mount"
    pool = guests.image("pool.img", 128, "mkfs.btrfs", "-q")
    shutil.copyfile(pool, copy)
    reason, text = refused(guests, root, pool, copy)
    assert reason == "several-operating-systems"
    assert "copies of each other" in text


def test_disks_without_a_system_are_refused(guests: Guests) -> None:
    assert refused(guests, guests.image("i", 16, "mke2fs", "-q", "-t", "ext4"))[0] == "no-operating-system"
    assert refused(guests, guests.image("empty", 8))[0] == "no-operating-system"


def test_a_hibernated_guest_is_refused(guests: Guests) -> None:
    swap = guests.image("swap.img", 8, "mkswap", "-q")
    with swap.open("r+b") as file:
        file.seek(4086)
        file.write(b"S1SUSPEND\0")
    assert refused(guests, guests.disk(guests.root(guests.tree()), swap))[0] == "unsupported-guest"


def test_a_guest_hibernated_into_a_swap_file_is_refused(guests: Guests) -> None:
    tree = guests.tree(f"UUID={UUID} / ext4\n/swapfile none swap sw 0 0\n")
    (tree / "swapfile").write_bytes(bytes(4086) + b"S1SUSPEND\0" + bytes(8192))
    assert refused(guests, guests.root(tree))[0] == "unsupported-guest"


def test_windows_is_refused(guests: Guests) -> None:
    ntfs = guests.image("ntfs.img", 8)
    with ntfs.open("r+b") as file:
        file.write(b"\xeb\x52\x90NTFS    ")
    assert refused(guests, ntfs)[0] == "windows"
    with ntfs.open("r+b") as file:
        file.seek(0x100)
        file.write(b"BOOTMGR is missing")
    reason, text = refused(guests, guests.root(guests.tree()), ntfs)
    assert reason == "windows"
    assert "beside Test Linux" in text


def test_an_encrypted_disk_without_a_key_is_refused(guests: Guests) -> None:
    secret = guests.image("luks.img", 8)
    with secret.open("r+b") as file:
        file.write(b"LUKS\xba\xbe\0\x01".ljust(168, b"\0") + UUID.encode())
    reason, text = refused(guests, guests.root(guests.tree()), secret)
    assert reason == "encrypted-guest"
    assert f"--key {UUID}:" in text


def test_a_file_system_with_errors_is_refused(guests: Guests) -> None:
    disk = guests.root(guests.tree())
    run("debugfs", "-w", "-R", "set_super_value state 3", str(disk))
    reason, text = refused(guests, disk)
    assert reason == "disk-unreadable"
    assert "fsck" in text


def test_a_damaged_home_is_refused_before_anything_is_written(guests: Guests) -> None:
    root = guests.root(guests.tree(f"UUID={UUID} / ext4\nLABEL=home /home ext4\n"))
    home = guests.image("home.img", 16, "mke2fs", "-q", "-t", "ext4", "-b", "1024", "-L", "home")
    with home.open("r+b") as file:
        file.seek(2048)
        file.write(b"\xff" * 4096)  # the group descriptors
    reason, text = refused(guests, root, home)
    assert reason == "disk-unreadable"
    assert "LABEL=home on /home" in text


def test_partitions_that_overlap_are_refused(guests: Guests) -> None:
    disk = guests.disk(guests.root(guests.tree()), guests.image("swap.img", 8, "mkswap", "-q"))
    run("sfdisk", "-q", "--delete", str(disk), "2")
    with disk.open("r+b") as file:  # sfdisk makes no table like this
        boot = bytearray(file.read(512))
        boot[446:510] = bytes(64)
        struct.pack_into("<4xB3xII", boot, 446, 0x83, 2048, 48 * 2048)
        struct.pack_into("<4xB3xII", boot, 462, 0x82, 40 * 2048, 8 * 2048)
        file.seek(0)
        file.write(boot)
    reason, text = refused(guests, disk)
    assert reason == "disk-unreadable"
    assert "overlap" in text


def test_an_fstab_that_is_read_in_part_would_hide_a_mount_and_is_refused(guests: Guests) -> None:
    lines = "# nothing\n" * 200_000 + "LABEL=gone /home ext4\n"
    assert refused(guests, guests.root(guests.tree(f"UUID={UUID} / ext4\n{lines}")))[0] == "unresolved-mount"


def test_an_fstab_with_more_entries_than_any_is_refused(guests: Guests) -> None:
    reason, text = refused(guests, guests.root(guests.tree(f"UUID={UUID} / ext4\n" + "/a /b none bind\n" * 5000)))
    assert reason == "unresolved-mount"
    assert "entries" in text


def test_a_recursive_bind_mount_is_taken_away_with_all_below_it(guests: Guests) -> None:
    tree = guests.tree(f"UUID={UUID} / ext4\nLABEL=d /data/inner ext4\n/data /srv none rbind\n")
    (tree / "data/inner").mkdir(parents=True)
    data = guests.image("data.img", 16, "mke2fs", "-q", "-t", "ext4", "-L", "d")
    assert sealed(guests, guests.root(tree), data, erase=True)["not_sealed"] == []


def test_a_file_system_that_cannot_be_mounted_is_refused(guests: Guests) -> None:
    disk = guests.root(guests.tree())
    with disk.open("r+b") as file:
        file.seek(2048)
        file.write(b"\xff" * 65536)  # the group descriptors
    reason, text = refused(guests, disk)
    assert reason == "disk-unreadable"
    assert "cannot be mounted" in text


def test_a_look_does_not_even_replay_a_journal(guests: Guests) -> None:
    disk = guests.root(guests.tree(f"UUID={UUID} / ext4\nLABEL=gone /home ext4\n"))
    point = guests.folder / "point"
    point.mkdir()
    run("mount", "-o", "loop", str(disk), str(point))
    (point / "etc/new").write_text("in the journal")
    os.sync()
    unclean = guests.folder / "unclean.img"
    shutil.copyfile(disk, unclean)
    run("umount", str(point))
    assert "needs_recovery" in run("dumpe2fs", "-h", str(unclean))
    assert refused(guests, unclean)[0] == "unresolved-mount"
    assert "needs_recovery" in run("dumpe2fs", "-h", str(unclean))


def test_mount_points_are_resolved_inside_the_guest(guests: Guests) -> None:
    tree = guests.tree(f"UUID={UUID} / ext4\nLABEL=h /home ext4\n/data/srv /srv none bind\n")
    (tree / "home/u").rmdir()
    (tree / "home").rmdir()
    (tree / "home").symlink_to("/data/home")
    for name in ("home", "srv/u"):
        (tree / "data" / name).mkdir(parents=True)
    (tree / "data/srv/u/.bash_history").write_text("bound\n")
    (tree / "etc/passwd").write_text("a:x:1000:1000::/home/a:/bin/sh\nb:x:1001:1001::/srv/u:/bin/sh\n")
    users = guests.folder / "users"
    (users / "a").mkdir(parents=True)
    (users / "a/.bash_history").write_text("x\n")
    home = guests.image("home.img", 16, "mke2fs", "-q", "-t", "ext4", "-L", "h", "-d", str(users))
    root = guests.root(tree)
    report = sealed(guests, root, home)
    operations = report["operations"]
    assert isinstance(operations, list)
    assert operations[0]["removed"] == 3
    assert ".bash_history" not in debugfs(home, "ls /a") + debugfs(root, "ls /data/srv/u")


def test_a_missing_mount_point_is_made_and_taken_away(guests: Guests) -> None:
    root = guests.root(guests.tree(f"UUID={UUID} / ext4\nLABEL=d /data ext4\n"))
    report = sealed(guests, root, guests.image("d.img", 16, "mke2fs", "-q", "-t", "ext4", "-L", "d"))
    guest = report["guest"]
    assert isinstance(guest, dict)
    assert "/data" in guest["mount_points"]
    assert "data" not in debugfs(root, "ls /")


def test_an_operation_that_fails_leaves_nothing_mounted_and_says_that_it_wrote(guests: Guests) -> None:
    broken = Operation(name="x", why="x", kind=Kind.LOG, profile=Profile.SYSPREP, code="there-is-none")
    message = seal(guests, guests.root(guests.tree()), operation=broken)
    assert (message["event"], message["untouched"]) == ("error", False)


def btrfs(guests: Guests, fstab: str) -> tuple[Path, Path]:
    """Make a btrfs with subvolumes @ and @home; return the image and where its top is mounted."""
    disk = guests.image("btrfs.img", 128, "mkfs.btrfs", "-q", "-U", UUID)
    top = guests.folder / "top"
    top.mkdir()
    run("mount", "-o", "loop", str(disk), str(top))
    for name in ("@", "@home"):
        run("btrfs", "subvolume", "create", str(top / name))
    run("cp", "-a", f"{guests.tree(fstab)}/.", str(top / "@"))
    (top / "@home/u").mkdir()
    (top / "@home/u/.bash_history").write_text("x\n")
    return disk, top


FSTAB = f"UUID={UUID} / btrfs subvol=@\nUUID={UUID} /home btrfs subvol=/@home\n"


def test_btrfs_subvolumes_are_mounted_by_fstab_and_others_reported(guests: Guests) -> None:
    disk, top = btrfs(guests, FSTAB)
    run("btrfs", "subvolume", "snapshot", "-r", str(top / "@home"), str(top / "home-yesterday"))
    run("btrfs", "subvolume", "create", str(top / "@/var/machines"))
    run("umount", str(top))
    report = sealed(guests, disk)
    operations, not_sealed = report["operations"], report["not_sealed"]
    assert isinstance(operations, list)
    assert isinstance(not_sealed, list)
    assert operations[0]["removed"] == 2
    assert ["btrfs snapshot home-yesterday" in line for line in not_sealed] == [True]


def test_a_btrfs_snapshot_of_the_root_is_refused(guests: Guests) -> None:
    disk, top = btrfs(guests, FSTAB)
    run("btrfs", "subvolume", "snapshot", str(top / "@"), str(top / "@/var/old"))
    run("umount", str(top))
    reason, text = refused(guests, disk)
    assert reason == "several-operating-systems"
    assert "@/var/old" in text
    assert "delete them" in text


def test_a_root_that_is_another_subvolume_than_fstab_says_is_refused(guests: Guests) -> None:
    disk, top = btrfs(guests, FSTAB.replace("subvol=@\n", "subvol=@root\n"))
    run("umount", str(top))
    assert refused(guests, disk)[0] == "unresolved-mount"


def test_a_btrfs_that_lacks_a_device_is_refused(guests: Guests) -> None:
    one, two = guests.image("one.img", 128), guests.image("two.img", 128)
    loops = [guests.attach(one), guests.attach(two)]
    run("mkfs.btrfs", "-q", "-d", "raid0", *loops)
    guests.detach()
    run("btrfs", "device", "scan", "--forget")
    assert refused(guests, one)[0] == "disks-incomplete"


@pytest.mark.parametrize(
    "request_", [{}, {"disks": 5}, {"disks": [], "settings": []}, {"disks": [3]}, {"operations": 1}]
)
def test_a_request_that_makes_no_sense_is_an_error(request_: dict[str, object]) -> None:
    messages: list[Message] = []
    service.answer(request_, messages.append)
    assert (messages[-1]["event"], messages[-1]["untouched"]) == ("error", True)


def lvm(loops: list[str], *command: str) -> str:
    """Run lvm on some loop devices; volumes cannot be made where the kernel has no device mapper, groups can."""
    accepted = ",".join(f'"a|^{loop}$|"' for loop in loops)
    config = f'devices{{global_filter=[{accepted},"r|.*|"] use_devicesfile=0}} backup{{backup=0 archive=0}}'
    return run("lvm", *command, "--config", config)


def test_a_volume_group_that_lacks_a_disk_is_refused(guests: Guests) -> None:
    images = [guests.image("one.img", 16), guests.image("two.img", 16)]
    loops = [guests.attach(image) for image in images]
    lvm(loops, "vgcreate", "-y", "data-vg", *loops)
    guests.detach()
    reason, text = refused(guests, guests.root(guests.tree()), images[0])
    assert reason == "disks-incomplete"
    assert "data-vg lacks 1 of 2 physical volumes" in text


def test_lvm_reads_the_uuids_that_were_written_by_hand(guests: Guests) -> None:
    image = guests.image("one.img", 16)
    loop = guests.attach(image)
    lvm([loop], "vgcreate", "-y", "data-vg", loop)
    device = BlockDevice(name="x", path=Path(loop), size=16 * MIB, superblock=probe(Path(loop)))
    (group,) = find_groups([device])
    new = lvm_uuids.change(group, Randomness(os.urandom(200)))
    said = lvm([loop], "pvs", "--noheadings", "-o", "vg_name,vg_uuid,pv_uuid").split()
    assert said == ["data-vg", new[group.uuid], new[group.members[0].uuid]]
    lvm([loop], "vgck", "data-vg")
    lvm([loop], "vgrename", "data-vg", "other")  # it writes on from there
    assert find_groups([device])[0].name == "other"


def test_an_array_that_lacks_a_disk_is_refused(guests: Guests) -> None:
    member = bytearray(4096)
    struct.pack_into("<II", member, 0, 0xA92B4EFC, 1)
    member[16:48] = bytes(range(16)) + b"host:data".ljust(16, b"\0")
    struct.pack_into("<i16xI", member, 72, 1, 2)
    struct.pack_into("<QQ", member, 136, 0, 8)
    struct.pack_into("<I", member, 220, 2)
    struct.pack_into("<HH", member, 256, 0, 1)
    disk = guests.image("md.img", 16)
    with disk.open("r+b") as file:
        file.seek(4096)
        file.write(member)
    reason, text = refused(guests, guests.root(guests.tree()), disk)
    assert reason == "disks-incomplete"
    assert "RAID array host:data" in text


FS_UUIDS = Operation(name="fs-uuids", why="x", kind=Kind.IDENTITY, profile=Profile.NONE, code="fs-uuids")
CHECKS = (
    ("e2fsck", "-f", "-n"),
    ("xfs_repair", "-n"),
    ("btrfs", "check", "--readonly"),
    ("swaplabel",),
)


def test_file_systems_get_new_uuids_that_the_guest_knows(guests: Guests) -> None:
    others = [
        guests.image("home.img", 310, "mkfs.xfs", "-q"),
        guests.image("srv.img", 120, "mkfs.btrfs", "-q"),
        guests.image("swap.img", 8, "mkswap", "-q"),
    ]
    old = [UUID, *(probe(image).uuid for image in others)]
    points = ("/", "/home", "/srv", "none")
    kinds = ("ext4", "xfs", "btrfs", "swap")
    lines = zip(old, points, kinds, strict=True)
    tree = guests.tree("".join(f"UUID={uuid} {point} {kind} defaults 0 0\n" for uuid, point, kind in lines))
    disk = guests.disk(guests.root(tree), *others)
    message = seal(guests, disk, operation=FS_UUIDS, erase=True)
    assert message["event"] == "report", message
    partitions = guests.cut(disk)
    new = [probe(partition).uuid for partition in partitions]
    assert set(old).isdisjoint(new)
    assert len({*new, ""}) == 5
    for check, partition in zip(CHECKS, partitions, strict=True):
        run(*check, str(partition))
    fstab = debugfs(disk, "cat /etc/fstab", MIB)
    assert re.findall(r"UUID=(\S+)", fstab) == new
    assert list(sealed(guests, disk)["guest"]["mount_points"]) == ["/", "/home", "/srv"]  # type: ignore[index]  # JSON


def test_a_dry_run_leaves_the_uuids(guests: Guests) -> None:
    disk = guests.root(guests.tree())
    before = disk.read_bytes()
    report = seal(guests, disk, operation=FS_UUIDS, dry_run=True)["report"]
    assert isinstance(report, dict)
    assert [path["path"] for path in report["operations"][0]["paths"]] == ["/etc/fstab"]
    assert disk.read_bytes() == before


@pytest.mark.parametrize("width", ["12", "16", "32"])
def test_a_fat_gets_a_new_number_in_all_its_headers(guests: Guests, width: str) -> None:
    """Only the headers: the kernel of a testing machine may not mount it."""
    image = guests.image("efi.img", {"12": 8, "16": 20, "32": 40}[width], "mkfs.vfat", "-F", width)
    device = BlockDevice(name="efi", path=image, size=image.stat().st_size, superblock=probe(image))
    [wanted] = fs_uuids.plan([device], (), Randomness(bytes.fromhex("c0ffee01")))
    assert wanted.new == "C0FF-EE01"
    fs_uuids.change(wanted)
    assert probe(image).uuid == "C0FF-EE01"
    assert "Differences" not in run("fsck.vfat", "-n", str(image))
