"""Running operations on a guest's file tree."""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Sequence

from vmseal.seal.catalogue import Condition, DeleteLines, OnlyIf, Operation, Write
from vmseal.seal.catalogue.reading import in_order
from vmseal.seal.errors import SealRefused
from vmseal.seal.fs_uuids import NewUuid
from vmseal.seal.guest import Guest
from vmseal.seal.labels import Labels
from vmseal.seal.operations import Work, find
from vmseal.seal.operations.fs_uuids import refuse_hidden
from vmseal.seal.randomness import Randomness
from vmseal.seal.record import Record, printable
from vmseal.seal.report import PATHS, Action, OperationReport
from vmseal.seal.root import Root
from vmseal.seal.settings import Settings

OTHER_GUESTS = "not for this guest"
REASON_OF = {
    errno.ENOSPC: "no-space", errno.EDQUOT: "no-space", errno.EIO: "disk-unreadable", errno.EUCLEAN: "disk-unreadable",
    errno.EROFS: "disk-unreadable",
}  # fmt: skip


def run(
    root: Root,
    guest: Guest,
    operations: Iterable[Operation],
    *,
    settings: Settings,
    random: Randomness,
    uuids: tuple[NewUuid, ...] = (),
    progress: Callable[[float, str], None],
) -> list[OperationReport]:
    """Do the operations (those on devices are passed over) and return what each did.

    ``progress`` gets the part that is done, 0.0 to 1.0, and the name of the operation that begins.

    Raises:
        SealRefused: an operation failed; says which, why, and which were done before. Nothing was, if the new UUIDs
            of file systems cannot be written everywhere.

    """
    refuse_hidden(root, uuids)
    if guest.selinux and settings.selinux_relabel:
        root.label = Labels(root, guest.selinux)
    work = Work(root=root, guest=guest, settings=settings, random=random, uuids=uuids)
    chosen = [operation for operation in in_order(operations) if not operation.on_devices]
    begin, reports = time.monotonic(), list[OperationReport]()
    for number, operation in enumerate(chosen):
        progress(number / len(chosen), operation.name)
        started = round(time.monotonic() - begin, 3)
        if not holds(operation.guest, guest):
            reports.append(OperationReport(operation.name, started, OTHER_GUESTS))
            continue
        with root.recording() as record:
            _one(operation, work, reports)
        reports.append(_report(operation.name, started, record))
    progress(1.0, "")
    return reports


def holds(condition: Condition, guest: Guest) -> bool:
    """Whether a condition holds for the guest."""
    return (
        (not condition.distro or not guest.names.isdisjoint(condition.distro))
        and guest.names.isdisjoint(condition.not_distro)
        and (not condition.packager or guest.packager in condition.packager)
        and (not condition.package_format or guest.package_format in condition.package_format)
    )


def _one(operation: Operation, work: Work, done: Sequence[OperationReport]) -> None:
    try:
        perform(operation, work)
    except SealRefused as error:
        message = f"operation {operation.name}: {error.message}; {_before(done)}"
        raise SealRefused(error.reason, message, untouched=work.root.dry_run) from error
    except OSError as error:
        place = f": {printable(str(error.filename))}" if error.filename is not None else ""
        reason = REASON_OF.get(error.errno or 0, "failed")
        message = f"operation {operation.name} failed: {error.strerror}{place}; {_before(done)}"
        raise SealRefused(reason, message, untouched=work.root.dry_run) from error


def _before(done: Sequence[OperationReport]) -> str:
    names = ", ".join(report.name for report in done)
    return f"done before it: {names}" if names else "nothing was done before it"


def perform(operation: Operation, work: Work) -> None:
    """Do one operation, whatever the guest."""
    root = work.root
    if operation.unless and root.glob(*operation.unless):
        named = root.glob(*operation.remove, *operation.remove_files, *operation.remove_files_under, *operation.empty)
        for path in named[:PATHS]:
            root.keep(path, operation.unless_why)
        return
    root.remove(operation.remove, keep=operation.keep)
    root.remove(operation.remove_files, keep=operation.keep, files_only=True)
    root.remove_files_under(operation.remove_files_under, keep=operation.keep, keep_names=operation.keep_names)
    root.empty(operation.empty, keep=operation.keep)
    for lines in operation.delete_lines:
        _delete_lines(root, lines, operation.keep)
    for write in operation.write:
        _write(root, write)
    for path in root.glob(*operation.report)[:PATHS]:
        root.keep(path, operation.report_why)
    if operation.code is not None:
        find(operation.code)(work)


def _delete_lines(root: Root, lines: DeleteLines, keep: tuple[str, ...]) -> None:
    kept = set(root.glob(*keep)) if keep else set()
    for path in root.glob(*lines.paths):
        content = None if path in kept else root.read_whole(path)
        if content is not None:
            edit_lines(root, path, content, lambda line: not _is_dropped(line, lines))


def _is_dropped(line: str, lines: DeleteLines) -> bool:
    return line.startswith(lines.prefixes) or (lines.pattern is not None and re.search(lines.pattern, line) is not None)


def edit_lines(root: Root, path: str, content: bytes, stays: Callable[[str], bool]) -> None:
    """Drop lines of a file; one without such lines is left as it is. CRLF becomes LF, the last line gets an end."""
    old = content.decode("utf-8", "surrogateescape").removesuffix("\n").replace("\r\n", "\n").split("\n")
    new = [line for line in old if stays(line)]
    if len(new) < len(old):
        text = "".join(f"{line}\n" for line in new)
        root.write(path, text.encode("utf-8", "surrogateescape"), action=Action.EDITED)


def _write(root: Root, write: Write) -> None:
    status = root.lstat(write.path)
    folder = os.path.dirname(write.path)  # noqa: PTH120  a path of the guest
    wanted = {
        OnlyIf.EXISTS: status is not None and stat.S_ISREG(status.st_mode),
        OnlyIf.MISSING: status is None,
        OnlyIf.DIRECTORY_EXISTS: root.is_folder(folder),
        OnlyIf.ALWAYS: True,
    }
    if not wanted[write.only_if]:
        return
    if write.only_if in {OnlyIf.ALWAYS, OnlyIf.MISSING}:
        root.make_folder(folder)
    root.write(write.path, write.content.encode(), mode=write.mode)


def _report(name: str, started: float, record: Record) -> OperationReport:
    return OperationReport(
        name,
        started,
        removed=record.removed,
        changed=record.changed,
        bytes=record.bytes,
        paths=record.paths,
        more=record.more,
        kept=record.kept,
        warnings=record.warnings,
    )
