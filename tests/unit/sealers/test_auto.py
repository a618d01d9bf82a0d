"""Choosing between two sealers, with stand-ins for both."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.fakes.sealers import MARK, FakeSealer

from vmseal.model.volume import VolumeFormat
from vmseal.seal.report import SealReport
from vmseal.sealers.auto import Auto
from vmseal.sealers.sealer import (
    ApplianceFailed,
    ApplianceUnable,
    Disk,
    NoOperatingSystem,
    ProgramMissing,
    RequestNotPossible,
    SealError,
    SealRequest,
)


class Bench:
    """An Auto over two stand-ins and a disk."""

    def __init__(self, folder: Path, *, appliance: SealError | None = None, other: SealError | None = None) -> None:
        self.disk = folder / "disk.raw"
        self.disk.write_bytes(b"guest")
        self.appliance = FakeSealer("appliance", error=appliance)
        self.other = FakeSealer("virt-sysprep", error=other)
        self.request = SealRequest(name="disk", disks=(Disk(self.disk, VolumeFormat.RAW),), deadline=100.0)

    def seal(self) -> SealReport:
        return asyncio.run(Auto(self.appliance, self.other).seal(self.request, lambda _: None))


def test_the_appliance_is_taken_where_it_can(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    report = bench.seal()
    assert (report.sealer, report.warnings, bench.other.requests) == ("appliance", [], [])


@pytest.mark.parametrize("error", [ApplianceUnable("no zfs"), ApplianceFailed("no zfs"), ProgramMissing("no zfs")])
def test_virt_sysprep_is_taken_where_the_appliance_cannot_and_the_report_says_why(
    tmp_path: Path, error: SealError
) -> None:
    bench = Bench(tmp_path, appliance=error)
    report = bench.seal()
    assert report.sealer == "virt-sysprep"
    assert report.warnings == [f"sealed by virt-sysprep, because the appliance did not do it: [{error.reason}] no zfs"]
    assert bench.disk.read_bytes() == b"guest" + MARK
    assert 0 < bench.other.requests[0].deadline <= bench.request.deadline


def test_what_says_something_about_the_disks_is_final(tmp_path: Path) -> None:
    bench = Bench(tmp_path, appliance=NoOperatingSystem("nothing"))
    with pytest.raises(NoOperatingSystem, match=r"^nothing$"):
        bench.seal()
    assert bench.other.requests == []


def test_touched_disks_are_not_given_to_another_sealer(tmp_path: Path) -> None:
    error = ApplianceFailed("stopped in the middle")
    error.untouched = False
    bench = Bench(tmp_path, appliance=error)
    with pytest.raises(ApplianceFailed):
        bench.seal()
    assert bench.other.requests == []


def test_what_was_asked_for_in_words_is_never_left_out(tmp_path: Path) -> None:
    bench = Bench(tmp_path, appliance=ApplianceUnable("no zfs"), other=RequestNotPossible("cannot erase"))
    with pytest.raises(ApplianceUnable, match=r"(?s)no zfs.*not taken instead: cannot erase"):
        bench.seal()
    assert bench.disk.read_bytes() == b"guest"


def test_when_both_fail_both_reasons_are_told(tmp_path: Path) -> None:
    bench = Bench(tmp_path, appliance=ApplianceUnable("no zfs"), other=NoOperatingSystem("nothing found"))
    with pytest.raises(NoOperatingSystem, match=r"(?s)nothing found.*appliance-unable.*no zfs"):
        bench.seal()
