"""After erasing, no deleted data is in the raw bytes, and everything that lives is as it was."""

from __future__ import annotations

import hashlib
import random
import re
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.contract.erase_rig import (
    CANARY,
    NAME,
    canaries,
    dice_of,
    fill,
    fingerprint,
    loop,
    mounted,
    run,
    soil_attributes,
    soiled,
    tidy,
)

from vmseal.seal.erase import (
    Range,
    erase_gaps,
    erase_lvm_metadata,
    erase_swap_file,
    erase_unmounted,
    is_hibernated,
    rewrite_swap,
)

MIB = 2**20
EXT4 = {
    "ext2": ("-t", "ext2"),
    "ext3": ("-t", "ext3"),
    "ext4": ("-t", "ext4"),
    "ext4 of 1 KiB blocks": ("-t", "ext4", "-b", "1024"),
    "ext4 of 2 KiB blocks": ("-t", "ext4", "-b", "2048", "-g", "8192"),
    "ext4 of 4 KiB blocks": ("-t", "ext4", "-b", "4096"),
    "ext4 with inline data": ("-t", "ext4", "-b", "4096", "-I", "256", "-O", "inline_data"),
    "ext4 with inline data in large inodes": ("-t", "ext4", "-b", "4096", "-I", "1024", "-O", "inline_data"),
    "ext4 without checksums": ("-t", "ext4", "-b", "1024", "-O", "^metadata_csum,uninit_bg"),
    "ext4 of nothing new": ("-t", "ext4", "-O", "^metadata_csum,^64bit,^extent,^flex_bg,^dir_index,^huge_file"),
    "ext4 without a journal": ("-t", "ext4", "-O", "^has_journal"),
    "ext4 with everything": (
        "-t", "ext4", "-b", "4096", "-I", "512", "-O",
        "64bit,metadata_csum,metadata_csum_seed,inline_data,orphan_file,large_dir,ea_inode,fast_commit",
    ),
    "ext4 with meta groups": ("-t", "ext4", "-b", "1024", "-O", "meta_bg,^resize_inode,64bit"),
    "ext4 with two superblock copies": ("-t", "ext4", "-b", "1024", "-O", "sparse_super2,^resize_inode"),
    "ext4 with multiple mount protection": ("-t", "ext4", "-O", "mmp"),
}  # fmt: skip


def digest(image: Path) -> str:
    return hashlib.sha256(image.read_bytes()).hexdigest()


@pytest.mark.parametrize("options", EXT4.values(), ids=EXT4.keys())
def test_nothing_deleted_is_left_on_ext4(tmp_path: Path, options: tuple[str, ...]) -> None:
    image = soiled(tmp_path / "disk.raw", 64 * MIB)
    run("mke2fs", "-q", "-F", "-E", "nodiscard", "-N", "4096", *options, image, "62M")
    dice = dice_of(options)
    with mounted(image) as root:
        populate(root, dice)
        (root / "set aside").touch()
        if "^extent" not in str(options) and options[1] == "ext4":
            run("fallocate", "-l", "1M", root / "set aside")
        tidy(root)
    with mounted(image) as root:
        before = fingerprint(root)
    assert canaries(image)

    result = erase_unmounted(str(image), "ext4")

    assert result.left == ()
    assert canaries(image) == []
    run("e2fsck", "-fn", image)
    first = digest(image)
    assert erase_unmounted(str(image), "ext4").left == ()
    assert digest(image) == first, "a second run finds nothing to do"
    with mounted(image) as root:
        assert fingerprint(root) == before
        (root / "more").mkdir()
        fill(root / "more", dice)
    run("e2fsck", "-fn", image)


XFS = {
    "xfs": (),
    "xfs of 1 KiB blocks": ("-b", "size=1024"),
    "xfs with large directory blocks": ("-n", "size=16384", "-i", "size=1024"),
    "xfs with all trees": ("-m", "rmapbt=1,reflink=1,bigtime=1,inobtcount=1", "-i", "sparse=1,nrext64=1"),
}


@pytest.mark.parametrize("options", XFS.values(), ids=XFS.keys())
def test_nothing_deleted_is_left_on_xfs(tmp_path: Path, options: tuple[str, ...]) -> None:
    image = soiled(tmp_path / "disk.raw", 304 * MIB)
    run("mkfs.xfs", "-q", "-f", "-K", *options, image)
    dice = dice_of(options)
    with mounted(image) as root:
        populate(root, dice)
        run("fallocate", "-l", "1M", root / "set aside")
        (root / "set aside behind its end").touch()
        run("fallocate", "-n", "-l", "1M", root / "set aside behind its end")
        tidy(root)
    with mounted(image) as root:
        before = fingerprint(root)
    assert canaries(image)

    result = erase_unmounted(str(image), "xfs")

    assert result.left == ()
    assert canaries(image) == []
    run("xfs_repair", "-n", image)
    first = digest(image)
    assert erase_unmounted(str(image), "xfs").left == ()
    assert digest(image) == first, "a second run finds nothing to do"
    with mounted(image) as root:
        assert fingerprint(root) == before
        (root / "more").mkdir()
        fill(root / "more", dice)
    run("xfs_repair", "-n", image)


BTRFS = {
    "btrfs": ("--data", "single", "--metadata", "dup"),
    "btrfs without a free space tree": ("-R", "^free-space-tree"),
    "btrfs with mixed chunks": ("--mixed",),
}


@pytest.mark.parametrize("options", BTRFS.values(), ids=BTRFS.keys())
def test_nothing_deleted_is_left_on_btrfs(tmp_path: Path, options: tuple[str, ...]) -> None:
    image = soiled(tmp_path / "disk.raw", 128 * MIB)
    run("mkfs.btrfs", "-q", "-f", "-K", *options, image)
    dice = dice_of(options)
    with mounted(image) as root:
        populate(root, dice)
        run("fallocate", "-l", "1M", root / "set aside")
        tidy(root)
    with mounted(image) as root:
        before = fingerprint(root)
    assert canaries(image)

    result = erase_unmounted(str(image), "btrfs")

    assert result.left == ()
    assert canaries(image) == []
    run("btrfs", "check", "--check-data-csum", image)
    first = digest(image)
    assert erase_unmounted(str(image), "btrfs").left == ()
    assert digest(image) == first, "a second run finds nothing to do"
    with mounted(image) as root:
        assert fingerprint(root) == before
        (root / "more").mkdir()
        fill(root / "more", dice)
    run("btrfs", "check", "--check-data-csum", image)


@pytest.mark.parametrize("profile", ["raid1", "raid0", "raid10"])
def test_btrfs_is_erased_on_all_its_devices(tmp_path: Path, profile: str) -> None:
    images = [soiled(tmp_path / f"disk{number}.raw", 160 * MIB) for number in range(4 if profile == "raid10" else 2)]
    with ExitStack() as stack:
        devices = [stack.enter_context(loop(image)) for image in images]
        run("mkfs.btrfs", "-q", "-f", "-K", "--data", profile, "--metadata", "raid1", *devices)
        root = tmp_path / "mounted"
        root.mkdir()
        run("btrfs", "device", "scan", *devices)
        run("mount", devices[0], root)
        try:
            populate(root, dice_of(profile))
            tidy(root)
            before = fingerprint(root)
        finally:
            run("umount", root)
        assert erase_unmounted(devices[1], "btrfs").left == (f"1 of its {len(devices)} devices are there",)
        assert erase_unmounted(devices[1], "btrfs", members=devices).left == ()
        run("btrfs", "check", "--check-data-csum", devices[0])
        run("mount", "-o", "ro", devices[0], root)
        try:
            assert fingerprint(root) == before
        finally:
            run("umount", root)
        run("btrfs", "device", "scan", "--forget")
    assert [canaries(image) for image in images] == [[]] * len(images)


@pytest.mark.parametrize(("bits", "size"), [("12", 2), ("16", 16), ("32", 48)])
def test_nothing_deleted_is_left_on_fat(tmp_path: Path, bits: str, size: int) -> None:
    """Filled by mtools: not every kernel can mount FAT."""
    image = soiled(tmp_path / "disk.raw", size * MIB)
    run("mkfs.vfat", "-F", bits, "-s", "1" if bits == "32" else "8", image)
    stays, goes = tmp_path / "stays", tmp_path / "Erase-Me~a long name"
    for index in range(40):
        stays.write_bytes(b"stays, " * (index * 70))
        goes.write_bytes(CANARY * (index * 70))
        run("mcopy", "-i", image, stays, f"::stays{index}")
        run("mcopy", "-i", image, goes, f"::{goes.name}{index}")
    run("mmd", "-i", image, "::folder")
    run("mcopy", "-i", image, stays, goes, "::folder")
    run("mdel", "-i", image, "::Erase-Me*", "::folder/Erase-Me*")
    listed = run("mdir", "-/", "-b", "-i", image)
    assert canaries(image)

    result = erase_unmounted(str(image), "vfat")

    assert result.left == ()
    assert canaries(image, needles=(CANARY, NAME.encode(), NAME.encode("utf-16-le"), b"RASE-M~")) == []
    run("fsck.vfat", "-n", image)
    assert run("mdir", "-/", "-b", "-i", image) == listed
    for index in range(40):
        assert run("mtype", "-i", image, f"::stays{index}") == "stays, " * (index * 70)


def populate(root: Path, dice: random.Random) -> None:
    """Fill a file system: files of all kinds, one large folder, attributes."""
    fill(root, dice)
    big = root / "a large folder"
    big.mkdir()
    for index in range(900):
        (big / f"{'Erase-Me~' if index % 3 else 'stays '}{index:060}").touch()
    soil_attributes(root, dice)


def test_a_sparse_image_takes_no_more_room_while_it_is_erased(tmp_path: Path) -> None:
    """The host need not have room for all of the disk: here it has a thirtieth."""
    run("mount", "-t", "tmpfs", "-o", "size=64M", "tmpfs", tmp_path)
    try:
        image = tmp_path / "disk.raw"
        run("mke2fs", "-q", "-F", "-t", "ext4", "-E", "lazy_itable_init=1,lazy_journal_init=1", image, "2G")
        with loop(image) as device:
            assert erase_unmounted(device, "ext4").left == ()
        assert image.stat().st_blocks * 512 < 48 * MIB
        run("e2fsck", "-fn", image)
    finally:
        run("umount", tmp_path)


def test_an_unclean_ext4_is_left_alone(tmp_path: Path) -> None:
    image = soiled(tmp_path / "disk.raw", 16 * MIB)
    run("mke2fs", "-q", "-F", "-t", "ext4", image)
    subprocess.run(["debugfs", "-w", "-R", "feature +needs_recovery", image], check=True, capture_output=True)
    before = digest(image)
    assert "not cleanly unmounted" in erase_unmounted(str(image), "ext4").left[0]
    assert digest(image) == before


def test_swap_keeps_its_header_and_nothing_else(tmp_path: Path) -> None:
    image = soiled(tmp_path / "swap.raw", 8 * MIB)
    run("mkswap", "--label", "pages", "--uuid", "6c1b4e6e-7d0f-4b62-9f0e-0f5a5f0e8a11", image)
    named = run("blkid", "-p", image)

    with loop(image) as device:
        result = rewrite_swap(device)

    assert result.left == ()
    assert canaries(image) == []
    assert run("blkid", "-p", image) == named
    with loop(image) as device:
        run("swapon", device)
        run("swapoff", device)


def test_a_hibernated_system_is_not_erased(tmp_path: Path) -> None:
    image = soiled(tmp_path / "swap.raw", 2 * MIB)
    run("mkswap", image)
    with image.open("r+b") as file:
        file.seek(4086)
        file.write(b"S1SUSPEND\0")
    before = digest(image)
    assert is_hibernated(str(image))
    assert "hibernated" in rewrite_swap(str(image)).left[0]
    assert digest(image) == before


@pytest.mark.parametrize("make", [("mke2fs", "-q", "-t", "ext4"), ("mkfs.xfs", "-q")], ids=["ext4", "xfs"])
def test_a_swap_file_loses_its_pages_and_keeps_its_blocks(tmp_path: Path, make: tuple[str, ...]) -> None:
    image = tmp_path / "disk.raw"
    with image.open("wb") as file:
        file.truncate(320 * MIB)
    run(*make, image)
    with mounted(image) as root:
        swap = root / "swapfile"
        swap.write_bytes(CANARY * 100000)
        swap.chmod(0o600)
        run("mkswap", swap)
        before = swap.stat()
        assert erase_swap_file(str(swap)).left == ()
        after = swap.stat()
        assert (after.st_blocks, after.st_size, after.st_mtime_ns) == (
            before.st_blocks,
            before.st_size,
            before.st_mtime_ns,
        )
        assert swap.read_bytes().count(0) > before.st_size - 4096
        run("swapon", swap)
        run("swapoff", swap)
    assert canaries(image) == []


@pytest.mark.parametrize("label", ["dos", "gpt"])
def test_gaps_are_erased_and_tables_kept(tmp_path: Path, label: str) -> None:
    image = soiled(tmp_path / "disk.raw", 64 * MIB)
    logical = (
        "type=5 start=65536\nstart=67584 size=2048\nstart=73728 size=2048\n"
        if label == "dos"
        else "start=67584 size=2048\n"
    )
    script = f"label: {label}\nstart=4096 size=8192\nstart=16384 size=8192\n{logical}"
    subprocess.run(["sfdisk", "--wipe=always", "-q", image], input=script.encode(), check=True)
    table = run("sfdisk", "--dump", image)
    partitions = [Range(int(start) * 512, int(size) * 512) for start, size in _partitions(table)]
    before = [image.read_bytes()[part.start : part.end] for part in partitions]

    with loop(image) as device:
        result = erase_gaps(device, partitions)

    data = bytearray(image.read_bytes())
    assert result.left == ()
    assert run("sfdisk", "--dump", image) == table
    assert [data[part.start : part.end] for part in partitions] == before
    for part in partitions:
        data[part.start : part.end] = bytes(part.length)
    assert CANARY not in data
    run("sfdisk", "--verify", image)


def _partitions(dump: str) -> list[tuple[str, str]]:
    found = re.findall(r"start= *(\d+), size= *(\d+), type=(\S+)", dump)
    return [(start, size) for start, size, kind in found if kind.strip(",") not in ("5", "f")]


@pytest.mark.parametrize("features", ["inline_data", "^inline_data", "^metadata_csum,^dir_index", "^extent,^64bit"])
def test_what_older_kernels_leave_behind_goes_from_ext4(tmp_path: Path, features: str) -> None:
    """Kernels before 5.13 leave deleted names, and some leave whole inodes; debugfs deletes as they do."""
    image, tree = soiled(tmp_path / "disk.raw", 16 * MIB), tmp_path / "tree"
    fill(tree_with_folders(tree), dice_of(features), files=120)
    # e2fsck has nothing to say about files that debugfs deletes only if it also frees their blocks: "rm" does.
    run("mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", "-I", "256", "-O", features, "-d", tree, image)
    doomed = [path for path in sorted(tree.rglob("*"), reverse=True) if NAME in str(path.relative_to(tree))]
    commands = [
        f'{"rmdir" if path.is_dir() and not path.is_symlink() else "rm"} "/{path.relative_to(tree)}"' for path in doomed
    ]
    subprocess.run(
        ["debugfs", "-w", "-f", "-", image], input="\n".join(commands).encode(), check=True, capture_output=True
    )
    subprocess.run(["e2fsck", "-fp", image], check=False, capture_output=True)
    names = run("debugfs", "-R", "ls -l /folder", image)
    assert canaries(image, needles=(NAME.encode(),)), "the names are still there"

    result = erase_unmounted(str(image), "ext4")

    assert result.left == ()
    assert dict(result.zeroed)["directory slack"]
    assert canaries(image) == []
    run("e2fsck", "-fn", image)
    assert run("debugfs", "-R", "ls -l /folder", image) == names


def tree_with_folders(tree: Path) -> Path:
    """Make a tree with one folder of a few names, which fits into an inode."""
    (tree / "folder").mkdir(parents=True)
    for name in ("stays", f"{NAME}goes", "stays too", f"{NAME}too"):
        (tree / "folder" / name).write_bytes(b"stays" if name.startswith("stays") else CANARY)
    return tree


def test_old_metadata_of_lvm_is_erased(tmp_path: Path) -> None:
    """Made without the kernel's device mapper: not every kernel has it."""
    image, tag = soiled(tmp_path / "disk.raw", 64 * MIB), NAME.replace("~", "-")
    with loop(image) as device:

        def lvm(command: str, *argv: str) -> str:
            only = f'devices {{ filter = ["a|{device}|", "r|.*|"] use_devicesfile = 0 }}'
            return run(command, "--config", f"{only} backup {{ backup = 0 archive = 0 }}", "--driverloaded", "n", *argv)

        lvm("pvcreate", "-qq", "-ff", "-y", "-Zy", device)
        lvm("vgcreate", "-qq", "group", device)
        for volume in ("stays", "goes", "last"):
            lvm("lvcreate", "-qq", "-an", "-Zn", "-Wn", "-y", "-L", "8M", "-n", volume, "group")
        lvm("vgchange", "-qq", "--addtag", tag, "group")
        lvm("vgchange", "-qq", "--deltag", tag, "group")
        lvm("lvremove", "-qq", "-y", "group/goes")
        before = lvm("vgs", "-o", "+vg_uuid,vg_free_count") + lvm("lvs", "-o", "+seg_pe_ranges")
        assert tag.encode() in image.read_bytes()

        result = erase_lvm_metadata(device)

        assert result.left == ()
        assert lvm("vgs", "-o", "+vg_uuid,vg_free_count") + lvm("lvs", "-o", "+seg_pe_ranges") == before
        lvm("vgck", "group")
    data = image.read_bytes()
    assert tag.encode() not in data
    assert data[MIB:].count(CANARY) > 1000, "what belongs to volumes stays"
