"""Making the appliance beforehand: with the real QEMU, in a process of its own."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

import pytest
from tests.contract.appliance_rig import qemus

from vmseal.sealers.appliance import MEMORY
from vmseal.sealers.appliance.preparation import NICENESS, Preparation
from vmseal.sealers.sealer import ApplianceFailed

PATIENCE = 120.0  # seconds; the appliance takes twelve on an idle machine


def preparation(folder: Path) -> Preparation:
    return Preparation(state=folder / "state", cache=folder / "cache", memory=MEMORY)


def vms(folder: Path) -> list[int]:
    """Return the processes of VMs."""
    return [each for each in qemus(folder) if Path(f"/proc/{each}/comm").read_text().startswith("qemu-system")]


def test_it_is_made_once_at_low_priority_and_stopping_it_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    cache = tmp_path / "cache" / "appliance"

    async def scenario() -> None:
        stopped = asyncio.create_task(preparation(tmp_path)())
        while not (list(cache.glob("snapshot-*.new")) and vms(tmp_path)):
            await asyncio.sleep(0.05)
            assert not stopped.done()
        priorities = {os.getpriority(os.PRIO_PROCESS, each) for each in vms(tmp_path)}
        stopped.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopped
        assert priorities == {NICENESS}
        assert qemus(tmp_path) == []
        assert list(temporary.iterdir()) == []
        kept = sorted(entry.name.partition("-")[0] for entry in cache.iterdir())
        assert kept == ["initramfs", "initramfs", "lock"], "the archive was finished, with its description"

        wanted = preparation(tmp_path)
        _, state = await asyncio.gather(wanted(), wanted.appliance.prepare())
        assert state.snapshot_size > 0
        assert state.others == 0, "both waited for the same one"

    async def in_time() -> None:
        async with asyncio.timeout(PATIENCE):
            await scenario()

    asyncio.run(in_time())


def test_what_hinders_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("no folder")
    with pytest.raises(ApplianceFailed, match=r"cannot be used: .*; choose another one with VMSEAL_HOST_CACHE"):
        asyncio.run(preparation(tmp_path)())
