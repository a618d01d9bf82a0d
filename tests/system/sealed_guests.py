"""Real guests sealed, and booted as clones: they work and are somebody else. One suite, every sealer."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TypedDict

import pytest
from guests.boot import Identity, Machine, booted
from guests.build import as_disks, build_guest, identity_of
from guests.recipes import RECIPES, FileSystem, Mount, Recipe

from vmseal.model.volume import VolumeFormat
from vmseal.seal.audit import AuditReport
from vmseal.seal.audit.remnants import Depth
from vmseal.seal.report import SealReport
from vmseal.sealers.accelerator import Accelerators
from vmseal.sealers.appliance import Appliance
from vmseal.sealers.auditor import Auditor, AuditRequest, promise_of
from vmseal.sealers.choice import SealerSettings, chosen, sealers
from vmseal.sealers.sealer import Disk, SealRequest

AUDIT_PAGE = Path(__file__).parents[2] / "docs/how-to/audit-a-template.md"
FIRST_PARTITION = 1024 * 1024  # bytes from the start of the disk
# What must be true in the running clone, apart from its identity; prints what is not.
# systemd makes an empty /root/.ssh.
STILL_THERE = """
for path in /root/.bash_history /home/iris/.bash_history /root/.ssh/authorized_keys /home/iris/.ssh \\
            /tmp/session /var/tmp/update.log /var/mail/iris /var/spool/cron/crontabs/iris; do
    [ -e "$path" ] && echo "$path"
done
grep -rl 'backup of' /var/log 2>/dev/null
systemctl is-enabled --quiet vmseal-ssh-hostkeys.service || echo "unit not enabled"
findmnt --verify --tab-file /etc/fstab >/dev/null || echo "fstab does not fit"
[ "$(tail -n +2 /proc/swaps | wc -l)" = "$(grep -cw swap /etc/fstab)" ] || echo "swap is not in use"
true
"""


class Choice(TypedDict, total=False):
    """What of a request is chosen."""

    profile: str
    operations: tuple[str, ...]


@dataclass(frozen=True)
class Sealed:
    """A sealed guest and its clone."""

    recipe: Recipe
    source: Identity
    disks: Sequence[Disk]
    report: SealReport
    audit: AuditReport
    clone: Identity
    still_there: str


async def seal_and_boot(recipe: Recipe, sealer: str, folder: Path, *, choice: Choice) -> Sealed:
    images = await build_guest(recipe)
    disks = [overlay(disk, folder / f"{recipe.name}-{number}.qcow2") for number, disk in enumerate(as_disks(images))]
    request = SealRequest(name=recipe.name, disks=tuple(disks), **choice)
    known = sealers(SealerSettings(state=folder / "state"))
    report = await chosen(known, sealer).seal(request, lambda _: None)
    audit = await audited(disks, folder, report)
    machine = Machine(accelerator=await Accelerators(folder / "state").best())
    async with booted(disks, machine=machine) as guest:
        clone = await guest.identity()
        still_there = await guest.execute(STILL_THERE)
    return Sealed(recipe, identity_of(images), disks, report, audit, clone, still_there)


async def audited(disks: Sequence[Disk], folder: Path, report: SealReport | None = None) -> AuditReport:
    """Audit disks by what their seal has promised; not a byte of their files changes."""
    asked = AuditRequest(name="audit", disks=tuple(disks), remnants=Depth.WHOLE)
    if report is not None:
        erased = report.erased is not None
        asked = replace(asked, promised=promise_of(report), erased=erased, profile=report.profile)
    before = [hashlib.sha256(disk.path.read_bytes()).digest() for disk in disks]
    found = await Auditor(Appliance(state=folder / "state")).audit(asked, lambda _: None)
    assert [hashlib.sha256(disk.path.read_bytes()).digest() for disk in disks] == before
    return found


def overlay(disk: Disk, path: Path) -> Disk:
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", disk.format.driver, "-b", str(disk.path.resolve())]
    subprocess.run([*command, str(path)], check=True)
    return Disk(path, VolumeFormat.COW)


def has_ext4_root(recipe: Recipe) -> bool:
    root = recipe.disks[0].partitions[0].content
    return isinstance(root, Mount) and root.file_system is FileSystem.EXT4


class SealedGuestTests:
    """The tests; a subclass says which sealer is tried, and on which guests."""

    sealer: str
    choice: Choice = {}  # noqa: RUF012  of profile and operations; by default, the sealer's
    recipes: Mapping[str, Recipe] = RECIPES
    only_long: frozenset[str] = frozenset()  # names of recipes that `make test` leaves out
    warnings: Sequence[str] = ()  # of the report

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "sealed" in metafunc.fixturenames:
            metafunc.parametrize("sealed", self._parameters(self.recipes), indirect=True)
        if "with_ext4" in metafunc.fixturenames:
            ext4 = [name for name, recipe in self.recipes.items() if has_ext4_root(recipe)]
            metafunc.parametrize("with_ext4", self._parameters(ext4))

    def _parameters(self, names: Iterable[str]) -> list[object]:
        return [pytest.param(name, marks=[pytest.mark.long] if name in self.only_long else []) for name in names]

    @pytest.fixture(scope="class")
    @classmethod
    def sealed_as(cls, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Sealed]:
        """Return what seals a guest and boots its clone, the first time that it is asked for it."""
        folder = tmp_path_factory.mktemp("guests")
        return cache(lambda name: asyncio.run(seal_and_boot(cls.recipes[name], cls.sealer, folder, choice=cls.choice)))

    @pytest.fixture
    def sealed(self, request: pytest.FixtureRequest, sealed_as: Callable[[str], Sealed]) -> Sealed:
        return sealed_as(request.param)

    def test_the_sealer_is_the_one_that_was_asked_for(self, sealed: Sealed) -> None:
        assert sealed.report.sealer == self.sealer

    def test_the_clone_is_somebody_else(self, sealed: Sealed) -> None:
        source, clone = sealed.source, sealed.clone
        assert clone.machine_id != source.machine_id
        assert clone.duid != source.duid
        assert clone.random_seed != source.random_seed
        assert clone.hostname == "localhost"
        assert set(clone.host_keys) == set(source.host_keys)
        assert not set(clone.host_keys.values()) & set(source.host_keys.values())

    def test_the_clone_works(self, sealed: Sealed) -> None:
        assert sealed.clone.ssh == "active"
        assert sealed.clone.failed == ()

    def test_nothing_of_its_use_is_left(self, sealed: Sealed) -> None:
        assert sealed.still_there == ""

    def test_the_audit_passes_and_finds_nothing_but_what_the_docs_list(self, sealed: Sealed) -> None:
        assert sealed.audit.passed, sealed.audit.findings
        listed = AUDIT_PAGE.read_text().partition("## On freshly installed guests")[2]
        found = {finding.name: finding.severity for finding in sealed.audit.findings}
        assert [name for name, severity in found.items() if f"| `{name}` | {severity} |" not in listed] == []

    def test_every_file_system_was_sealed(self, sealed: Sealed) -> None:
        layout = {
            mount.directory
            for disk in sealed.recipe.disks
            for partition in disk.partitions
            for mount in (
                [volume.content for volume in partition.content.volumes]
                if hasattr(partition.content, "volumes")
                else [partition.content]
            )
            if isinstance(mount, Mount)
        }
        assert set(sealed.report.guest.mount_points) == layout
        assert sealed.report.warnings == list(self.warnings)

    # An ext4 can be read here without a mount; XFS cannot, its clone is looked at instead.
    def test_before_the_first_boot_the_machine_id_is_empty_and_there_are_no_host_keys(
        self, sealed_as: Callable[[str], Sealed], with_ext4: str, tmp_path: Path
    ) -> None:
        raw = tmp_path / "root.raw"
        subprocess.run(["qemu-img", "convert", "-O", "raw", sealed_as(with_ext4).disks[0].path, raw], check=True)

        def debugfs(command: str) -> str:
            image = f"{raw}?offset={FIRST_PARTITION}"
            return subprocess.run(["debugfs", "-R", command, image], capture_output=True, check=True, text=True).stdout

        assert "Type: regular" in debugfs("stat /etc/machine-id")
        assert debugfs("cat /etc/machine-id") == ""
        assert "ssh_config" in debugfs("ls /etc/ssh")
        assert "ssh_host" not in debugfs("ls /etc/ssh")
        assert "ssh-keygen -A" in debugfs("cat /etc/systemd/system/vmseal-ssh-hostkeys.service")
