"""The sealers that a host and the command line put together."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from vmseal.sealers import choice
from vmseal.sealers.appliance.snapshot import Cache
from vmseal.sealers.auto import DEFAULT_SEALER, SealerName
from vmseal.sealers.choice import SealerSettings
from vmseal.sealers.sealer import ApplianceFailed, RequestNotPossible


def test_every_sealer_that_can_be_named_is_there_under_its_name(tmp_path: Path) -> None:
    sealers = choice.sealers(SealerSettings(state=tmp_path))
    assert set(sealers) == set(SealerName)
    assert all(sealer.name == name for name, sealer in sealers.items())
    assert DEFAULT_SEALER in sealers
    assert choice.profiles(sealers)[:3] == ["sysprep", "default", "thorough"]


def test_an_unknown_sealer_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(RequestNotPossible, match="'magic' here; there are: appliance, auto, virt-sysprep"):
        choice.chosen(choice.sealers(SealerSettings(state=tmp_path)), "magic")


def test_virt_sysprep_alone_has_its_own_profile_alone() -> None:
    assert choice.profiles(["virt-sysprep"]) == ["sysprep"]


def test_a_cache_that_cannot_be_used_is_a_failure_of_the_appliance_alone(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    async def scenario() -> None:
        async with Cache(tmp_path / "file").locked():
            raise AssertionError("a file is no folder")

    with pytest.raises(ApplianceFailed, match="VMSEAL_HOST_CACHE"):
        asyncio.run(scenario())
