"""Answering one request: from disks to a sealed guest and its report. This is what the appliance runs.

The course: put the devices together, look at the guest without writing, mount it, run the operations, unmount it, erase
what was removed, give volume groups new UUIDs, close everything. Until the first file system is mounted for writing the
disks are untouched; an error says so.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Mapping, Sequence

from vmseal.seal import asked, audit, catalogue, devices, fs_uuids, identities, luks, lvm_uuids, mounts, profile, roots
from vmseal.seal.assembly import Assembly
from vmseal.seal.catalogue import Operation
from vmseal.seal.errors import SealRefused
from vmseal.seal.guest import Guest, identify
from vmseal.seal.looking import give_up
from vmseal.seal.lvm import VolumeGroup
from vmseal.seal.mounts import Mounts
from vmseal.seal.randomness import Randomness
from vmseal.seal.report import GuestSystem, OperationReport, SealReport
from vmseal.seal.root import Root
from vmseal.seal.run import run
from vmseal.seal.settings import Settings
from vmseal.seal.wiping import Wiping

Message = dict[str, object]
# Where in the whole each stage begins, in percent.
ASSEMBLING, INSPECTING, MOUNTING, OPERATING, ERASING, FINISHING = 0.0, 5.0, 15.0, 20.0, 60.0, 95.0
SHOWN_EVERY = 0.1  # seconds between two operations that are shown
# What else a guest can be asked, by the request's "verb"; none of these writes to the disks of a template.
VERBS: Mapping[str, Callable[[Mapping[str, object]], Message]] = {
    "audit": audit.answer,
    "identities": identities.answer,
}


def answer(request: Mapping[str, object], emit: Callable[[Message], None]) -> None:
    """Seal the guest of the request, or do its verb; emit progress, and in the end exactly one report or error.

    Never raises.
    """
    seal = _Seal(emit)
    try:
        report = VERBS.get(str(request.get("verb")), seal.run)(request)
    except SealRefused as error:
        message = {"event": "error", "reason": error.reason, "message": _printable(error.message)}
        emit({**message, "untouched": seal.untouched})
    except Exception as error:  # noqa: BLE001  whatever it is, the host waits for an answer
        text = f"{seal.stage}: {type(error).__name__}: {error}"
        emit({"event": "error", "reason": _reason(error), "message": _printable(text), "untouched": seal.untouched})
    else:
        emit({"event": "report", "report": report})


def _reason(error: Exception) -> str:
    return "no-space" if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT} else "failed"


class _Seal:
    """One seal on its way. ``untouched`` tells whether the disks are still as they were; ``stage`` what it is at."""

    def __init__(self, emit: Callable[[Message], None]) -> None:
        self.untouched = True
        self.stage = "starting"
        self._uuids: tuple[fs_uuids.NewUuid, ...] = ()  # that file systems are still to get
        self._emit = emit
        self._began = time.monotonic()
        self._shown = 0.0  # when an operation was shown last
        self._shown_every = SHOWN_EVERY

    def run(self, request: Mapping[str, object]) -> dict[str, object]:
        """Do it; raises SealRefused and OSError."""
        options = asked.mapping(request.get("settings", {}))
        settings = Settings.from_json(options)
        operations = _operations(request.get("operations", []), options)
        if options.get("all_progress") is True:
            self._shown_every = 0.0
        dry_run, erase = options.get("dry_run") is True, options.get("erase", True) is not False
        random = Randomness(bytes.fromhex(str(request.get("random", ""))))
        assembly = Assembly(asked.disks(request), luks.keys_from(request.get("keys", [])))
        mounted = Mounts(writable=not dry_run, options=asked.mount_options(options))
        wiping = Wiping() if erase and not dry_run else None
        try:
            self._progress(ASSEMBLING, "putting the disks together")
            assembly.open()
            guest, reports, broken = self._seal_files(
                assembly, mounted, operations, (settings, random, dry_run), wiping
            )
            system = _system(guest, mounted)
            self._progress(ERASING, "unmounting")
            mounted.unmount()
            if wiping:
                self._progress(ERASING, "erasing what was removed")
                wiping.unmounted(assembly, broken=broken)
            for wanted in self._uuids:
                self._progress(FINISHING, f"a new UUID for {wanted.device}")
                fs_uuids.change(wanted)
            self._progress(FINISHING, "closing the disks")
            changed = self._close(assembly, operations, random, wiping=wiping, dry_run=dry_run)
            if wiping:
                wiping.gaps(assembly)
        except BaseException:
            give_up(mounted, assembly)
            raise
        report = SealReport(
            sealer="appliance",
            version="",
            accelerator="",
            guest=system,
            disks=[],
            operations=reports + changed,
            warnings=_warnings(mounted, reports, wiping),
            seconds=round(time.monotonic() - self._began, 3),
            dry_run=dry_run,
            profile=str(options.get("profile") or "sysprep"),
            erased=wiping.as_json() if wiping else None,
            not_sealed=[_printable(line) for line in mounted.not_sealed],
        )
        return _without_host(report)

    def _seal_files(
        self,
        assembly: Assembly,
        mounted: Mounts,
        operations: Sequence[Operation],
        choice: tuple[Settings, Randomness, bool],
        wiping: Wiping | None,
    ) -> tuple[Guest, list[OperationReport], frozenset[str]]:
        settings, random, dry_run = choice
        self._progress(INSPECTING, "looking at the guest")
        findings = roots.find_root(assembly.tops())
        planned = mounts.plan(findings.root.entries, findings, assembly.devices)  # refuses while nothing is written
        if not dry_run:
            mounts.refuse_damaged(planned, findings)
        self.untouched = dry_run
        self._progress(MOUNTING, "mounting")
        mounted.mount(findings, assembly.devices)
        root = Root(mounted.top, dry_run=dry_run)
        try:
            guest = identify(root)
            wanted = any(operation.code == "fs-uuids" for operation in operations)
            uuids = fs_uuids.plan(assembly.tops(), findings.broken, random) if wanted else ()
            reports = run(
                root, guest, operations, settings=settings, random=random, uuids=uuids, progress=self._operation
            )
            self._uuids = () if dry_run else uuids
        finally:
            root.close()
        if wiping:
            for disk in assembly.disks:
                devices.zero_by_unmapping(disk)
            wiping.mounted(mounted)
        return guest, reports, frozenset(findings.broken)

    def _close(
        self,
        assembly: Assembly,
        operations: Sequence[Operation],
        random: Randomness,
        *,
        wiping: Wiping | None,
        dry_run: bool,
    ) -> list[OperationReport]:
        """Close all layers; volume groups get new UUIDs on the way, when they are inactive."""
        wanted = any(operation.code == "lvm-uuids" for operation in operations)
        done: list[str] = []
        started = round(time.monotonic() - self._began, 3)

        def change(group: VolumeGroup) -> None:
            if wiping:
                wiping.group(group)
            if wanted and not dry_run:
                lvm_uuids.change(group, random)
            if wiping:
                wiping.metadata(group)  # the old UUIDs, too
            done.append(group.name)

        assembly.close(change)
        if not (wanted and done):
            return []
        return [OperationReport("lvm-uuids", started, ", ".join(sorted(done)), changed=len(done))]

    def _progress(self, percent: float, operation: str) -> None:
        self.stage = operation
        writing = not self.untouched
        self._emit({"event": "progress", "percent": percent, "operation": operation, "writing": writing})

    def _operation(self, part: float, name: str) -> None:
        """Say which operation begins; unless asked to, not oftener than anybody can read: each line takes its time."""
        now, self.stage = time.monotonic(), name or self.stage
        if not name or now - self._shown < self._shown_every:
            return
        self._shown = now
        self._progress(OPERATING + round(part * (ERASING - OPERATING), 1), name)


def _system(guest: Guest, mounted: Mounts) -> GuestSystem:
    return GuestSystem(
        root=_printable(mounted.points["/"]),
        type="linux",
        distro=_printable(guest.distro),
        product=_printable(guest.product),
        hostname=_printable(guest.hostname),
        mount_points={_printable(point): _printable(device) for point, device in mounted.points.items()},
    )


def _warnings(mounted: Mounts, reports: list[OperationReport], wiping: Wiping | None) -> list[str]:
    lines = mounted.warnings + [warning for report in reports for warning in report.warnings]
    return [_printable(line) for line in lines + (wiping.left if wiping else [])]


def _without_host(report: SealReport) -> dict[str, object]:
    """Return the report without the fields that only the host can fill in."""
    data = report.as_json()
    return {key: value for key, value in data.items() if key not in {"sealer", "version", "accelerator", "disks"}}


def _operations(wanted: object, options: Mapping[str, object]) -> Sequence[Operation]:
    """Return the operations asked for; without any, those of the profile that come with the program."""
    if wanted is None:
        return profile.select(catalogue.own(), str(options.get("profile", "")))
    return [catalogue.from_json(asked.mapping(item)) for item in asked.items(wanted)]


def _printable(text: str) -> str:
    r"""Return the text with bytes that are not UTF-8 as \xNN."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
