"""The guests that the other tests seal are what their recipes say, boot, and leave nothing behind."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from guests.agent import GuestError
from guests.boot import Identity, Machine, booted
from guests.build import as_disks, build_guest, identity_of
from guests.recipes import RECIPES, Mount, Recipe, Swap, VolumeGroup

from vmseal.model.volume import VolumeFormat
from vmseal.sealers.accelerator import Accelerators
from vmseal.sealers.sealer import Disk

pytestmark = [pytest.mark.guests, pytest.mark.timeout(3600)]

# All were booted once when they were built, and their clones are in test_seal_guests.py; these have the most to mount.
BOOTED_AGAIN = ("debian12-lvm", "debian12-two-disks")
LOOK = """
lsblk --noheadings --list --output MOUNTPOINTS | sed -n 's/^\\//&/p; s/\\[SWAP\\]/swap/p'
echo ---
cat /root/.bash_history /home/iris/.bash_history /var/tmp/update.log
ls -A /var/lib/dhcp /home/iris/.ssh /var/mail /var/spool/cron/crontabs
journalctl --list-boots --no-pager | wc -l
[ ! -d /srv ] || cat /srv/* 2>/dev/null || true
"""


@dataclass(frozen=True)
class Booted:
    """A guest at its second boot, on an overlay."""

    recipe: Recipe
    first: Identity
    second: Identity
    mounted: set[str]
    used: str
    unchanged: bool


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def boot_again(recipe: Recipe, state: Path) -> Booted:
    images = await build_guest(recipe)
    before = [digest(image) for image in images]
    async with booted(as_disks(images), machine=Machine(accelerator=await Accelerators(state).best())) as guest:
        identity = await guest.identity()
        mounted, _, used = (await guest.execute(LOOK)).partition("---\n")
        await guest.power_off()
    unchanged = before == [digest(image) for image in images]
    return Booted(recipe, identity_of(images), identity, set(mounted.split()), used, unchanged)


@pytest.fixture(scope="module")
def all_booted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Booted]:
    state = tmp_path_factory.mktemp("state")

    async def main() -> list[Booted]:
        # One at a time: other tests run beside this, and an emulated guest keeps a core busy.
        return [await boot_again(RECIPES[name], state) for name in BOOTED_AGAIN]

    return {each.recipe.name: each for each in asyncio.run(main())}


@pytest.fixture(params=BOOTED_AGAIN)
def guest(request: pytest.FixtureRequest, all_booted: dict[str, Booted]) -> Booted:
    return all_booted[request.param]


def places(content: Mount | Swap | VolumeGroup) -> Iterator[str]:
    match content:
        case Mount(_, directory):
            yield directory
        case Swap():
            yield "swap"
        case VolumeGroup(_, volumes):
            yield from (place for volume in volumes for place in places(volume.content))


def test_it_boots_again_as_the_same_machine_with_everything_running(guest: Booted) -> None:
    for identity in (guest.first, guest.second):
        assert identity.hostname == guest.recipe.hostname
        assert identity.ssh == "active"
        assert identity.failed == ()
        assert set(identity.host_keys) == {"RSA", "ECDSA", "ED25519"}
        assert len(bytes.fromhex(identity.machine_id)) == 16
        assert len(bytes.fromhex(identity.duid)) >= 10
    assert guest.second.machine_id == guest.first.machine_id
    assert guest.second.host_keys == guest.first.host_keys
    assert guest.second.duid == guest.first.duid


def test_everything_is_mounted_where_the_recipe_says(guest: Booted) -> None:
    partitions = [partition for disk in guest.recipe.disks for partition in disk.partitions]
    assert guest.mounted == {place for partition in partitions for place in places(partition.content)}


def test_it_has_been_in_use(guest: Booted) -> None:
    for trace in ("correct-horse", "ssh root@db1", "left from an update", "dhclient.", "id_ed25519", "iris"):
        assert trace in guest.used
    if "/srv" in guest.mounted:
        assert f"data of {guest.recipe.hostname}" in guest.used


def test_a_boot_on_an_overlay_does_not_change_the_images(guest: Booted) -> None:
    assert guest.unchanged


def test_no_two_guests_are_the_same_machine(all_booted: dict[str, Booted]) -> None:
    assert len({each.first.machine_id for each in all_booted.values()}) == len(BOOTED_AGAIN)
    assert len({each.first.host_keys["RSA"] for each in all_booted.values()}) == len(BOOTED_AGAIN)


def test_a_disk_without_a_system_is_an_error_that_shows_the_console(tmp_path: Path) -> None:
    blank = tmp_path / "blank.raw"
    blank.write_bytes(b"")
    os.truncate(blank, 1024 * 1024)

    async def main() -> None:
        machine = Machine(accelerator=await Accelerators(tmp_path).best())
        async with booted([Disk(blank, VolumeFormat.RAW)], machine=machine, deadline=5):
            pytest.fail("a blank disk booted")

    with pytest.raises(GuestError, match=r"not answered after 5 s\n.*console"):
        asyncio.run(main())
    assert own_guests() == []


def test_a_qemu_that_ends_at_once_is_an_error_with_its_words(tmp_path: Path) -> None:
    async def main() -> None:
        machine = Machine(accelerator=await Accelerators(tmp_path).best())
        async with booted([Disk(tmp_path / "none", VolumeFormat.RAW)], machine=machine, overlay=False):
            pytest.fail("a missing disk booted")

    with pytest.raises(GuestError, match="No such file"):
        asyncio.run(main())


@pytest.mark.parametrize(
    ("number", "there"),
    [(signal.SIGINT, "mmdebstrap.*/var/lib/dpkg/info/dpkg.list"), (signal.SIGTERM, "mmdebstrap.*/etc")],
)
def test_a_build_that_is_stopped_leaves_nothing(tmp_path: Path, number: signal.Signals, there: str) -> None:
    cache = tmp_path / "cache"
    program = [sys.executable, "-m", "guests.build", "debian12-ext4", "--cache", str(cache)]
    with subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as build:
        try:
            deadline = time.monotonic() + 120
            while not (scratch := unpacking(str(cache), there)):
                assert time.monotonic() < deadline, "mmdebstrap has unpacked nothing"
                assert build.poll() is None
                time.sleep(0.1)
            build.send_signal(number)
            build.wait(timeout=60)
        finally:
            build.kill()
    assert build.returncode != 0
    assert marked(str(cache)) == []
    assert not scratch.exists()
    assert str(scratch) not in Path("/proc/self/mountinfo").read_text()
    assert {path.suffix for path in cache.iterdir()} <= {".lock", ".json"}


def unpacking(word: str, there: str) -> Path | None:
    """Return the scratch folder of the mmdebstrap that has ``word`` on its command line, once ``there`` is in it."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes().decode(errors="replace")
            variables = (entry / "environ").read_bytes().decode(errors="replace").split("\0")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        folders = [Path(each.removeprefix("TMPDIR=")) for each in variables if each.startswith("TMPDIR=")]
        if "mmdebstrap" in line and word in line and folders and list(folders[0].glob(there)):
            return folders[0]
    return None


def own_guests() -> list[str]:
    """Return the command lines of QEMU processes that this one has started: other workers boot guests of their own."""
    parent = f"\nPPid:\t{os.getpid()}\n"
    found = []
    for line, folder in command_lines():
        with suppress(FileNotFoundError, ProcessLookupError):
            if "qemu-system" in line and parent in (folder / "status").read_text():
                found.append(line)
    return found


def marked(*words: str) -> list[str]:
    """Return the command lines of running mmdebstrap and QEMU processes that have one of ``words`` in them."""
    programs = [line for line, _ in command_lines() if "mmdebstrap" in line or "qemu-system" in line]
    return [line for line in programs if any(word in line for word in words)]


def command_lines() -> Iterator[tuple[str, Path]]:
    """Give each running process's command line and folder in /proc."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            yield (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"), entry
