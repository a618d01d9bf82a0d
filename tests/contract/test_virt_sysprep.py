"""``VirtSysprep`` with stand-ins for guestfish and virt-sysprep: what it makes of what those say and do.

The stand-ins print what the real programs were seen to print; the real ones are used in tests/system.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.contract.appliance_rig import NoKvm

from vmseal.model.volume import VolumeFormat
from vmseal.sealers.accelerator import Accelerator, Accelerators
from vmseal.sealers.sealer import (
    ApplianceFailed,
    DeadlineExceeded,
    Disk,
    DiskInUse,
    DiskUnreadable,
    KernelUnreadable,
    NoOperatingSystem,
    ProgramMissing,
    SealError,
    SealProgress,
    SealRequest,
)
from vmseal.sealers.virt_sysprep import VirtSysprep

DEADLINE = 20.0  # seconds that a test waits for something that should happen at once
GUESTFISH = """#!/usr/bin/python3
import re, shlex, sys
ANSWERS = {{
    "list-filesystems": ["/dev/sda1: ext4"], "list-devices": ["/dev/sda"], "inspect-os": {roots!r},
    "inspect-get-type": ["linux"], "inspect-get-distro": ["debian"], "inspect-get-mountpoints": ["/: /dev/sda1"],
    "is-file": ["true"],
}}
for line in sys.stdin:
    command, _, pipe = line.strip().lstrip("-").partition(" | ")
    if command.startswith("echo "):
        print(command.removeprefix("echo "), flush=True)
        continue
    words = shlex.split(command)
    if words[0] == "is-file" and words[1] == "/etc/fstab":
        continue
    for each in ANSWERS.get(words[0], []):
        print(re.search(r"s/\\^/([^/]*)/", pipe)[1] + each, flush=True)
"""
START = "echo '[   0.0] Examining the guest ...'\necho '[   1.0] Performing \"tmp-files\" ...'\n"
CUSTOMIZE = "echo '[   2.0] Performing \"customize\" ...'\n"
EMPTIED = "echo 'libguestfs: trace: truncate \"/etc/machine-id\"'\necho 'libguestfs: trace: truncate = 0'\n"


def program(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


class Bench:
    """A sealer with stand-ins, and a raw disk."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.folder = folder
        self.disk = folder / "disk.raw"
        self.disk.write_bytes(b"guest" * 1000)
        self.seen: list[SealProgress] = []

    def sealer(self, script: str, *, guestfish: str = GUESTFISH.format(roots=["/dev/sda1"])) -> VirtSysprep:
        version = '#!/bin/sh\n[ "$1" = --version ] && { echo "virt-sysprep 1.48.2"; exit; }\n'
        return VirtSysprep(
            state=self.state,
            program=program(self.folder / "virt-sysprep", version + script),
            guestfish=program(self.folder / "guestfish", guestfish),
            accelerators=NoKvm(self.state),
        )

    def request(self, *paths: Path, deadline: float = 60.0) -> SealRequest:
        disks = tuple(Disk(path, VolumeFormat.RAW) for path in paths or (self.disk,))
        return SealRequest(name="the name/of it", disks=disks, deadline=deadline)

    def refused(self, sealer: VirtSysprep, request: SealRequest | None = None) -> SealError:
        with pytest.raises(SealError) as caught:
            asyncio.run(sealer.seal(request or self.request(), self.seen.append))
        assert list((self.state / "runs").glob("*")) == []
        return caught.value


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_seal_that_succeeds(bench: Bench) -> None:
    report = asyncio.run(bench.sealer(START + CUSTOMIZE + EMPTIED).seal(bench.request(), bench.seen.append))
    assert (report.version, report.accelerator, report.guest.distro) == ("1.48.2", "tcg", "debian")
    assert [operation.name for operation in report.operations] == ["tmp-files", "customize"]
    percents = [progress.percent for progress in bench.seen]
    assert percents == sorted(percents)
    assert (percents[0], percents[-1]) == (0.0, 100.0)
    assert [progress.writing for progress in bench.seen] == sorted(progress.writing for progress in bench.seen)


def test_the_log_is_for_the_owner_only_and_temporary_files_are_gone(bench: Bench) -> None:
    asyncio.run(bench.sealer(START + CUSTOMIZE + EMPTIED).seal(bench.request(), bench.seen.append))
    logs = list((bench.state / "logs").iterdir())
    assert {stat.S_IMODE(log.stat().st_mode) for log in logs} == {0o600}
    assert all(log.name.startswith("virt-sysprep-the_name_of_it-") for log in logs)
    assert any('Performing "customize"' in log.read_text() for log in logs)
    assert list((bench.state / "runs").iterdir()) == []


def test_what_a_killed_sealer_left_is_removed_and_what_a_living_one_uses_is_not(bench: Bench) -> None:
    left, used = bench.state / "runs/left", bench.state / "runs/used"
    for folder in (left, used):
        (folder / "libguestfsXYZ").mkdir(parents=True)
    descriptor = os.open(used, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        asyncio.run(bench.sealer(START + CUSTOMIZE + EMPTIED).seal(bench.request(), bench.seen.append))
    finally:
        os.close(descriptor)
    assert list((bench.state / "runs").iterdir()) == [used]


def test_the_environment_is_ours_and_disks_are_given_in_reverse_with_formats(bench: Bench) -> None:
    second = bench.folder / "second.raw"
    second.write_bytes(b"data")
    script = f'env >{bench.folder}/env; for word; do echo "$word"; done >{bench.folder}/arguments\n'
    sealer = bench.sealer(script + START + CUSTOMIZE + EMPTIED)
    os.environ["LIBGUESTFS_TRACE"] = "1"
    try:
        asyncio.run(sealer.seal(bench.request(bench.disk, second), bench.seen.append))
    finally:
        del os.environ["LIBGUESTFS_TRACE"]
    environment = dict(line.partition("=")[::2] for line in (bench.folder / "env").read_text().splitlines())
    assert environment["LIBGUESTFS_BACKEND"] == "direct"
    assert environment["LIBGUESTFS_BACKEND_SETTINGS"] == "force_tcg"
    assert environment["LIBGUESTFS_CACHEDIR"] == str(bench.state / "cache")
    assert environment["TMPDIR"].startswith(str(bench.state / "runs"))
    assert environment["VMSEAL_RUN"] == str(bench.state)
    assert "LIBGUESTFS_TRACE" not in environment
    arguments = (bench.folder / "arguments").read_text().splitlines()
    assert arguments[-6:] == ["--format=raw", "-a", str(second), "--format=raw", "-a", str(bench.disk)]
    assert arguments[-8:-6] == ["--truncate", "/etc/machine-id"]


def test_a_failure_shows_what_virt_sysprep_says_and_where_the_log_is(bench: Bench) -> None:
    error = bench.refused(
        bench.sealer(START + "echo 'virt-sysprep: error: libguestfs error: rm_rf: /tmp' >&2; exit 1\n")
    )
    assert "libguestfs error: rm_rf: /tmp" in str(error)
    assert str(bench.state / "logs") in str(error)
    assert not error.untouched


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (START + CUSTOMIZE, "has not left /etc/machine-id empty"),
        (START + EMPTIED, "without its last operation"),
        (START + "echo 'virt-sysprep: warning: mount: /dev/sdb: failed (ignored)'\n" + CUSTOMIZE + EMPTIED, "unsealed"),
        (
            START
            + "echo 'virt-sysprep: warning: hostname could not be set for this type of guest'\n"
            + CUSTOMIZE
            + EMPTIED,
            "unsealed",
        ),
    ],
)
def test_status_0_is_not_enough(bench: Bench, script: str, words: str) -> None:
    assert words in str(bench.refused(bench.sealer(script)))


def test_harmless_warnings_do_not_matter(bench: Bench) -> None:
    warning = "echo 'virt-sysprep: warning: random seed could not be set for this type of guest'\n"
    report = asyncio.run(bench.sealer(START + warning + CUSTOMIZE + EMPTIED).seal(bench.request(), bench.seen.append))
    assert report.warnings == []


def test_a_mount_that_failed_matters_only_where_it_should_be_mounted(bench: Bench) -> None:
    text = "mount_options: mount_options_stub: /dev/vdc: No such file or directory (ignored)"
    warning = f"echo 'virt-sysprep: warning: {text}'\n"
    guestfish = GUESTFISH.format(roots=["/dev/sda1"])
    assert text in str(bench.refused(bench.sealer(START + warning + CUSTOMIZE + EMPTIED)))
    optional = guestfish.replace('["/: /dev/sda1"]', '["/: /dev/sda1", "/mnt: /dev/vdc"]').replace(
        "    for each in",
        "    if words[:2] == ['mount-ro', '/dev/vdc']: print('libguestfs: error: mount_ro: failed')\n    for each in",
    )
    sealer = bench.sealer(START + warning + CUSTOMIZE + EMPTIED, guestfish=optional)
    assert asyncio.run(sealer.seal(bench.request(), bench.seen.append)).warnings == []


def test_a_guest_that_is_refused_is_untouched(bench: Bench) -> None:
    error = bench.refused(bench.sealer("touch /nowhere/at/all\n", guestfish=GUESTFISH.format(roots=[])))
    assert isinstance(error, NoOperatingSystem)
    assert error.untouched


def test_missing_programs_are_named_with_their_package(bench: Bench) -> None:
    sealer = VirtSysprep(state=bench.state, guestfish="no-guestfish", accelerators=NoKvm(bench.state))
    error = bench.refused(sealer)
    assert isinstance(error, ProgramMissing)
    assert "no-guestfish" in str(error)


# What supermin 5.2 and libguestfs 1.48 said on a host whose kernel had mode 0600.
UNREADABLE_KERNEL = """#!/bin/sh
cat >&2 <<'END'
supermin: kernel: picked vmlinuz /boot/vmlinuz-6.1.0-56-cloud-amd64
cp: cannot open '/boot/vmlinuz-6.1.0-56-cloud-amd64' for reading: Permission denied
supermin: cp -p '/boot/vmlinuz-6.1.0-56-cloud-amd64' '/cache/appliance.d.x/kernel': command failed, see earlier errors
*stdin*:0: libguestfs: error: /usr/bin/supermin exited with error status 1, see debug messages above
END
exit 1
"""


def test_an_unreadable_kernel_is_named_with_the_remedy(bench: Bench) -> None:
    error = bench.refused(bench.sealer("", guestfish=UNREADABLE_KERNEL))
    assert isinstance(error, KernelUnreadable)
    assert "chmod 0644 /boot/vmlinuz-6.1.0-56-cloud-amd64" in str(error)


def test_an_appliance_that_does_not_start_is_said_with_the_cause(bench: Bench) -> None:
    error = bench.refused(bench.sealer("", guestfish="#!/bin/sh\necho 'qemu-system-x86_64: error: oh' >&2; exit 1\n"))
    assert isinstance(error, ApplianceFailed)
    assert "qemu-system-x86_64: error: oh" in str(error)


def test_kvm_that_runs_no_appliance_is_given_up(bench: Bench) -> None:
    class Doubtful(Accelerators):
        trusted = True

        async def best(self) -> Accelerator:
            return Accelerator.KVM

        async def distrust_kvm(self) -> None:
            self.trusted = False

    aborting = GUESTFISH.format(roots=["/dev/sda1"]).replace(
        "import re, shlex, sys",
        "import os, re, shlex, sys\n"
        "if 'LIBGUESTFS_BACKEND_SETTINGS' not in os.environ: sys.exit('killed by signal 6 (Aborted)')",
    )
    bench.sealer(START + CUSTOMIZE + EMPTIED, guestfish=aborting)
    accelerators = Doubtful(bench.state)
    sealer = VirtSysprep(
        state=bench.state,
        program=str(bench.folder / "virt-sysprep"),
        guestfish=str(bench.folder / "guestfish"),
        accelerators=accelerators,
    )
    report = asyncio.run(sealer.seal(bench.request(), bench.seen.append))
    assert (report.accelerator, accelerators.trusted) == ("tcg", False)


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_past_the_deadline_everything_is_dead(bench: Bench) -> None:
    pid = bench.folder / "pid"
    script = f"{START}setsid sleep 300 & echo $! >{pid}; wait\n"
    error = bench.refused(bench.sealer(script), bench.request(deadline=3.0))
    assert isinstance(error, DeadlineExceeded)
    assert not error.untouched
    assert not is_alive(int(pid.read_text()))


def test_cancelled_everything_is_dead_before_it_propagates(bench: Bench) -> None:
    pid = bench.folder / "pid"

    async def main() -> None:
        sealer = bench.sealer(f"{START}setsid sleep 300 & echo $! >{pid}.new; mv {pid}.new {pid}; wait\n")
        task = asyncio.create_task(sealer.seal(bench.request(), bench.seen.append))
        await asyncio.to_thread(wait_for, pid.exists)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not is_alive(int(pid.read_text()))

    asyncio.run(main())
    assert list((bench.state / "runs").iterdir()) == []


def disk_refused(bench: Bench, path: Path, form: VolumeFormat = VolumeFormat.COW) -> SealError:
    request = SealRequest(name="disk", disks=(Disk(path, form),))
    with pytest.raises(SealError) as caught:
        asyncio.run(bench.sealer("exit 9\n").seal(request, bench.seen.append))
    assert caught.value.untouched
    return caught.value


def test_disks_that_are_no_files(bench: Bench) -> None:
    assert isinstance(disk_refused(bench, bench.folder / "nowhere"), DiskUnreadable)
    assert isinstance(disk_refused(bench, bench.folder), DiskUnreadable)


def test_the_same_disk_twice(bench: Bench) -> None:
    link = bench.folder / "link"
    link.symlink_to(bench.disk)
    assert "given twice" in str(bench.refused(bench.sealer(""), bench.request(bench.disk, link)))


def qemu_img(*arguments: str | Path) -> None:
    subprocess.run(["qemu-img", *arguments], check=True, stdout=subprocess.DEVNULL)


def test_a_format_that_is_not_the_stated_one(bench: Bench) -> None:
    assert "cannot be opened as qcow2" in str(disk_refused(bench, bench.disk))
    image = bench.folder / "image"
    qemu_img("create", "-q", "-f", "qcow2", image, "1M")
    assert "has a qcow2 header" in str(disk_refused(bench, image, VolumeFormat.RAW))


def test_a_truncated_qcow2(bench: Bench) -> None:
    image = bench.folder / "image.qcow2"
    bench.disk.write_bytes(os.urandom(1 << 20))
    qemu_img("convert", "-f", "raw", "-O", "qcow2", bench.disk, image)
    os.truncate(image, 600_000)
    error = disk_refused(bench, image)
    assert isinstance(error, DiskUnreadable)
    assert "damaged or truncated" in str(error)
    os.truncate(image, 60)
    assert "header too short" in str(disk_refused(bench, image))


def test_chains_that_are_not_acceptable(bench: Bench) -> None:
    base, leaf = bench.folder / "base.qcow2", bench.folder / "leaf.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", base, "1M")
    qemu_img("create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, leaf)
    qemu_img("rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", "json:{}", leaf)
    assert isinstance(disk_refused(bench, leaf), DiskUnreadable)
    qemu_img("rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", leaf, leaf)
    assert "circle" in str(disk_refused(bench, leaf))
    qemu_img("rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", base, leaf)
    base.unlink()
    assert f"backing file {base} is missing" in str(disk_refused(bench, leaf))


def test_an_external_data_file_is_refused(bench: Bench) -> None:
    image = bench.folder / "image.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-o", f"data_file={bench.folder / 'victim.raw'}", image, "1M")
    assert "keeps its data in another file" in str(disk_refused(bench, image))


def test_a_disk_that_another_process_writes(bench: Bench) -> None:
    image = bench.folder / "image.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", image, "1M")
    with subprocess.Popen(
        ["qemu-io", "-f", "qcow2", str(image)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdin is not None
        assert owner.stdout is not None
        owner.stdin.write("read 0 512\n")
        owner.stdin.flush()
        assert owner.stdout.readline()  # it has the image open now
        error = disk_refused(bench, image)
        owner.stdin.close()
    assert isinstance(error, DiskInUse)
    assert str(image) in str(error)
