"""The calls for one sealed template, in the order in which the engine makes them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.contract.host_rig import running_rig, same, write
from tests.fakes.sealers import MARK


def test_a_template_is_copied_sealed_and_shared(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            source = await rig.new_volume()
            write(rig.file(source), "write -P 7 1M 1M")
            copy = await rig.new_volume()
            job = await rig.copy(rig.div(source), rig.div(copy, generation=0))
            assert (job["status"], job["progress"]) == ("done", 100.0)
            assert await rig.marks(copy) == ("LEAF", "LEGAL", 1)
            assert same(rig.file(source), rig.file(copy))
            assert (await rig.update(copy, 1, legality="ILLEGAL"))["status"] == "done"
            assert await rig.marks(copy) == ("LEAF", "ILLEGAL", 2)
            sealed = await rig.seal(copy)
            assert (sealed["status"], sealed["job_type"], sealed["description"]) == ("done", "virt", "seal_vm")
            assert await rig.marks(copy) == ("LEAF", "ILLEGAL", 2)
            assert rig.file(copy).read_bytes().endswith(MARK)
            assert (await rig.call("Vmseal.getSealReport", job_id=sealed["id"]))["guest"]["distro"] == "debian"
            assert (await rig.update(copy, 2, legality="LEGAL", type="SHARED"))["status"] == "done"
            assert await rig.marks(copy) == ("SHARED", "LEGAL", 3)

    asyncio.run(scenario())
