"""What virt-sysprep prints, understood."""

from __future__ import annotations

import time

from vmseal.sealers.output import Output
from vmseal.sealers.sealer import SealProgress


def read(*lines: str) -> tuple[Output, list[SealProgress]]:
    seen: list[SealProgress] = []
    output = Output(time.monotonic(), seen.append)
    for line in lines:
        output.read(line)
    return output, seen


def test_operations_and_their_details_are_kept_in_order() -> None:
    output, _ = read(
        "[   0.0] Examining the guest ...",
        '[  12.3] Performing "abrt-data" ...',
        '[ 113.9] Performing "customize" ...',
        "[ 114.0] Setting a random seed",
    )
    assert [(operation.name, operation.detail) for operation in output.operations] == [
        ("abrt-data", ""),
        ("customize", ""),
        ("customize", "Setting a random seed"),
    ]


def test_progress_never_goes_back_and_unknown_operations_do_not_matter() -> None:
    _, seen = read(
        "[   0.0] Examining the guest ...",
        '[  12.3] Performing "tmp-files" ...',
        '[  12.4] Performing "brand-new" ...',
        '[  12.5] Performing "abrt-data" ...',
        '[  13.9] Performing "lvm-uuids" ...',
    )
    percents = [progress.percent for progress in seen]
    assert percents == sorted(percents)
    assert percents[-1] < 100.0
    assert seen[2].operation == "brand-new"


def test_a_line_is_found_behind_half_a_line_of_the_console() -> None:
    output, _ = read(
        'udevadm --debug settle[  12.3] Performing "abrt-data" ...', "x virt-sysprep: warning: oh (ignored)"
    )
    assert [operation.name for operation in output.operations] == ["abrt-data"]
    assert output.warnings == ["oh (ignored)"]


def test_kernel_messages_are_no_steps() -> None:
    output, seen = read("[   32.170353]  sda: sda1", "[    0.000000] Linux version 6.1.0")
    assert (output.operations, seen) == ([], [])


def test_errors_are_collected() -> None:
    output, _ = read("virt-sysprep: error: no operating systems were found in the guest image", "")
    assert output.errors == ["no operating systems were found in the guest image"]


TRUNCATED = ('libguestfs: trace: truncate "/etc/machine-id"', "libguestfs: trace: truncate = 0")
WRITTEN = ('libguestfs: trace: write "/etc/machine-id" "035b77edb67c66eab4a0c03064209041\\x0a"',)


def test_machine_id_is_empty_when_truncating_it_came_last() -> None:
    looked_at = 'libguestfs: trace: lstatns "/etc/machine-id"'
    internal = 'libguestfs: trace: internal_write "/etc/machine-id" "035b77edb67c66eab4a0c03064209041\\x0a"'
    assert read(*TRUNCATED, *WRITTEN, internal, "libguestfs: trace: write = 0", *TRUNCATED, looked_at)[
        0
    ].machine_id_is_empty


def test_machine_id_is_not_empty_when_it_was_written_last_or_truncating_failed() -> None:
    assert not read()[0].machine_id_is_empty
    assert not read(*TRUNCATED, *WRITTEN, "libguestfs: trace: write = 0")[0].machine_id_is_empty
    assert not read(TRUNCATED[0], "libguestfs: trace: truncate = -1 (error)")[0].machine_id_is_empty
    assert not read(TRUNCATED[0])[0].machine_id_is_empty
