"""What is asked of the appliance: operations are named by their profile where that says it all."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmseal.model.volume import VolumeFormat
from vmseal.seal import catalogue, profile, service
from vmseal.seal.catalogue import dropins
from vmseal.sealers.appliance.request import as_json
from vmseal.sealers.sealer import Disk, SealRequest


def request(**changes: object) -> SealRequest:
    return SealRequest(name="a", disks=(Disk(Path("/a.qcow2"), VolumeFormat.COW),), **changes)  # type: ignore[arg-type]  # as a user's


def test_a_profile_of_the_programs_is_not_spelled_out() -> None:
    assert as_json(request())["operations"] is None
    assert as_json(request(profile="sysprep"))["operations"] is None


def test_chosen_operations_are_spelled_out() -> None:
    assert as_json(request(operations=["defaults", "-logfiles"]))["operations"]


def test_with_operations_of_the_administrators_all_are_spelled_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dropins, "are_there", lambda: True)
    assert as_json(request())["operations"] == [catalogue.to_json(each) for each in dropins.select("default")]


def test_operations_of_the_administrators_are_noticed(tmp_path: Path) -> None:
    assert not dropins.are_there(tmp_path)
    (tmp_path / "own.toml").touch()
    assert dropins.are_there(tmp_path)


@pytest.mark.parametrize("name", ["sysprep", "default", "thorough"])
def test_the_appliance_finds_the_same_operations_by_their_profile(name: str) -> None:
    assert service._operations(None, {"profile": name}) == dropins.select(name)
    assert service._operations(None, {"profile": name}) == profile.select(catalogue.own(), name)
