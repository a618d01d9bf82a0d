"""The calls for one sealed template, in the order in which the engine makes them."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

from tests.contract.host_rig import running_rig
from tests.fakes.sealers import MARK


def write(path: Path, *commands: str, volume_format: str = "qcow2") -> None:
    options = [word for command in commands for word in ("-c", command)]
    subprocess.run(["qemu-io", "-f", volume_format, *options, str(path)], check=True, stdout=subprocess.DEVNULL)


def same(first: Path, second: Path, formats: tuple[str, str] = ("qcow2", "qcow2")) -> bool:
    command = ["qemu-img", "compare", "-f", formats[0], "-F", formats[1], str(first), str(second)]
    return subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode == 0


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
