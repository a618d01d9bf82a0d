"""Guests and hosts without room: full file systems, files of 1 TiB, very many files, a full host. One seal each."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.appliance_rig import NoKvm
from tests.contract.erase_rig import mounted, run
from tests.system.hostile_rig import Rig, fingerprint, is_sealed, refusal_of

from vmseal.sealers.appliance import Appliance
from vmseal.sealers.sealer import SealError

pytestmark = pytest.mark.timeout(600)


def fill_up(root: Path) -> None:
    """Use the last block and the last inode."""
    with (root / "big").open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1024, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def use_up_inodes(root: Path) -> None:
    try:
        for number in range(1_000_000):
            (root / f"empty-{number}").touch()
    except OSError:
        return


@pytest.mark.parametrize("form", ["ext4", "xfs", "btrfs"])
def test_on_a_full_file_system_the_seal_is_done_or_says_that_there_is_no_space(rig: Rig, form: str) -> None:
    tree = rig.tree()
    disk = {"ext4": lambda tree: rig.ext4(tree, "-m", "0"), "xfs": rig.xfs, "btrfs": rig.btrfs}[form](tree)
    with mounted(disk) as root:
        fill_up(root)
    if (refusal := refusal_of(rig, disk)) is None:
        with mounted(disk) as root:
            is_sealed(root)
    else:
        assert refusal.reason == "no-space"


@pytest.mark.parametrize("removed", [0, 20])
def test_without_a_free_inode_the_seal_is_done_if_it_removes_enough_or_there_is_no_space(
    rig: Rig, removed: int
) -> None:
    """It needs seven itself: a unit, three links, and their folders."""
    tree = rig.tree()
    for number in range(removed):
        (tree / f"tmp/{number}").touch()
    disk = rig.ext4(tree, "-N", "100")
    with mounted(disk) as root:
        use_up_inodes(root)
    if removed:
        rig.sealed(disk)
        with mounted(disk) as root:
            is_sealed(root)
    else:
        reason, text = rig.refused(disk)
        assert reason == "no-space, written to"
        assert "operation customize failed" in text


def test_a_sparse_file_of_1_tib_stays_sparse(rig: Rig) -> None:
    tree = rig.tree()
    (tree / "root/.viminfo").touch()
    disk = rig.ext4(tree)
    with mounted(disk) as root:
        for name in ("giant", "tmp/giant", "root/.viminfo", "root/.bash_history"):
            os.truncate((root / name), 1 << 40) if (root / name).exists() else None
            with (root / name).open("ab") as file:
                file.truncate(1 << 40)
    rig.sealed(disk)
    with mounted(disk) as root:
        is_sealed(root)
        assert (root / "giant").stat().st_size == 1 << 40
        assert not (root / "tmp/giant").exists()
    assert disk.stat().st_blocks * 512 <= 64 << 20


@pytest.mark.parametrize(
    "name", ["etc/hostname", "etc/hosts", "etc/shadow", "etc/passwd", "etc/resolv.conf", "etc/os-release"]
)
def test_configuration_of_1_tib_takes_no_memory(rig: Rig, name: str) -> None:
    tree = rig.tree()
    (tree / name).touch()
    disk = rig.ext4(tree)
    with mounted(disk) as root:
        os.truncate(root / name, 1 << 40)
    rig.sealed(disk)
    with mounted(disk) as root:
        assert (root / name).stat().st_size in {1 << 40, len("localhost\n"), 0}
        is_sealed(root)


def many_files(rig: Rig, count: int) -> Path:
    """Make an ext4 with that many files in /tmp."""
    inodes = str(count + 10_000)
    # Blocks of 2 KiB: with 1 KiB, neither a group has inodes enough, nor the folder's index room for a million names.
    disk = rig.ext4(rig.tree(), "-N", inodes, "-I", "128", "-b", "2048", size=max(128, count // 500))
    with mounted(disk) as root:
        folder = os.open(root / "tmp", os.O_RDONLY)
        for number in range(count):
            os.mknod(f"f{number}", 0o100600, dir_fd=folder)
        os.close(folder)
    return disk


HOURS = (pytest.mark.long, pytest.mark.timeout(4 * 3600))


@pytest.mark.parametrize("count", [50_000, pytest.param(1_000_000, marks=HOURS)])
def test_many_files_in_tmp(rig: Rig, count: int) -> None:
    disk = many_files(rig, count)
    report = rig.sealed(disk, deadline=3 * 3600)
    with mounted(disk) as root:
        is_sealed(root)
        assert list((root / "tmp").iterdir()) == []
    (tmp,) = (each for each in report.operations if each.removed >= count)
    assert len(tmp.paths) == 1000
    assert tmp.more >= count - 1000


def test_past_the_deadline_a_slow_guest_is_given_up(rig: Rig) -> None:
    disk = many_files(rig, 50_000)
    reason, text = rig.refused(disk, deadline=4)
    assert reason in {"deadline", "deadline, written to"}
    assert "4 s" in text


def full(folder: Path) -> None:
    """Leave no room in a folder's file system."""
    with (folder / "ballast").open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """Give a folder with 24 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=24M", "tmpfs", folder)
    yield folder
    run("umount", folder)


def test_without_room_for_the_appliance_the_folder_is_named_and_nothing_is_left(rig: Rig, small: Path) -> None:
    full(small)
    rig.sealer = Appliance(state=small / "state", accelerators=NoKvm(rig.folder))
    reason, text = rig.refused(rig.ext4(rig.tree()))
    assert reason in {"no-space", "appliance-failed"}
    assert str(small) in text
    assert "No space left" in text
    assert [path.name for path in small.rglob("*") if path.is_file() and path.stat().st_size] == ["ballast"]


@pytest.mark.long  # it boots three times
def test_without_room_for_the_snapshot_the_appliance_boots_and_seals(rig: Rig, tmp_path: Path) -> None:
    """There is room for the archive, and for no more."""
    folder = tmp_path / "medium"
    folder.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=64M", "tmpfs", folder)
    try:
        rig.sealer = Appliance(state=folder / "state", accelerators=NoKvm(rig.folder))
        disk = rig.ext4(rig.tree())
        rig.sealed(disk, deadline=300)
        with mounted(disk) as root:
            is_sealed(root)
        assert [path.name for path in folder.rglob("snapshot*")] == []
    finally:
        run("umount", folder)


def test_without_room_for_the_changes_of_a_qcow2_there_is_no_space(rig: Rig, small: Path) -> None:
    tree = rig.tree()
    for number in range(200):
        (tree / f"tmp/{number}").write_bytes(os.urandom(30_000))
    base, disk = rig.ext4(tree), small / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, disk], check=True)
    full(small)
    reason, text = rig.refused(disk)
    assert reason.startswith("no-space")
    assert "space" in text
    assert sorted(path.name for path in small.iterdir()) == ["ballast", "disk.qcow2"]


def test_without_room_for_the_overlay_of_a_dry_run_the_folder_is_named(
    rig: Rig, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full(small)
    monkeypatch.setattr("tempfile.tempdir", str(small))
    disk = rig.ext4(rig.tree())
    before = fingerprint(disk)
    with pytest.raises(SealError, match="space") as caught:
        rig.seal(disk, dry_run=True)
    assert caught.value.untouched
    assert str(small) in str(caught.value)
    assert fingerprint(disk) == before
