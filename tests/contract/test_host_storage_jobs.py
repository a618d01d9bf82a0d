"""SDM.copy_data and SDM.update_volume with the real qemu-img."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from tests.contract.host_rig import MIB, Rig, header, held, is_running, new_id, running_rig, same, write

from vmseal.host.copying import CopySource
from vmseal.model import volume
from vmseal.model.errors import VerbError
from vmseal.model.volume import VolumeFormat

DRIVERS = {4: "qcow2", 5: "raw"}


async def refused(rig: Rig, verb: str, **params: Any) -> int:
    with pytest.raises(VerbError) as caught:
        await rig.call(verb, **params)
    return caught.value.code


@pytest.mark.parametrize("source_format", [4, 5])
@pytest.mark.parametrize(("target_format", "allocation"), [(4, 2), (5, 2), (5, 1), (4, 1)])
def test_copies_are_whole_in_every_form(
    tmp_path: Path, source_format: int, target_format: int, allocation: int
) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            source = await rig.new_volume(volFormat=source_format)
            write(rig.file(source), "write -P 7 1M 2M", "write -P 9 7M 1M", driver=DRIVERS[source_format])
            before = rig.file(source).read_bytes()
            copy = await rig.new_volume(volFormat=target_format, preallocate=allocation)
            # what an earlier copy that failed could have left
            write(rig.file(copy), "write -P 5 0 4M", driver=DRIVERS[target_format])
            job = await rig.copy(rig.div(source), rig.div(copy, generation=0))
            assert job["status"] == "done", job
            assert await rig.marks(copy) == ("LEAF", "LEGAL", 1)
            assert same(rig.file(source), rig.file(copy), (DRIVERS[source_format], DRIVERS[target_format]))
            assert rig.file(source).read_bytes() == before
            assert rig.file(copy).stat().st_mode & 0o777 == 0o660
            used = rig.file(copy).stat().st_blocks * 512
            assert (used >= 8 * MIB) if allocation == 1 else (used < 5 * MIB)

    asyncio.run(scenario())


def test_what_is_large_for_the_page_cache_is_copied_past_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volume, "CACHED", 4 * MIB)
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(bytes(2 * MIB))
    large.write_bytes(bytes(3 * MIB))
    sources = [CopySource(files, VolumeFormat.RAW, 8 * MIB) for files in ((small,), (large, small))]
    assert [source.is_small for source in sources] == [True, False], "all of a chain counts"

    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            source, copy = await rig.new_volume(), await rig.new_volume()
            write(rig.file(source), "write -P 7 1M 5M")
            assert (await rig.copy(rig.div(source), rig.div(copy)))["status"] == "done"
            assert same(rig.file(source), rig.file(copy))

    asyncio.run(scenario())


def test_a_device_takes_no_blocks_and_is_not_small() -> None:
    assert not CopySource((Path("/dev/null"),), VolumeFormat.RAW, 8 * MIB).is_small


def test_a_chain_is_collapsed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            template = await rig.new_volume(volFormat=5)
            write(rig.file(template), "write -P 1 0 3M", driver="raw")
            clone, _ = await rig.create(srcImgUUID=template[0], srcVolUUID=template[1])
            write(rig.file(clone), "write -P 2 1M 1M")
            top = (clone[0], new_id())
            await rig.create(top, srcImgUUID=clone[0], srcVolUUID=clone[1])
            write(rig.file(top), "write -z 2M 1M")
            copy = await rig.new_volume()
            assert (await rig.copy(rig.div(top), rig.div(copy)))["status"] == "done"
            assert same(rig.file(top), rig.file(copy))
            assert "backing-filename" not in header(rig.file(copy))

    asyncio.run(scenario())


def test_a_destination_with_a_parent_hides_the_parents_data(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            template = await rig.new_volume()
            write(rig.file(template), "write -P 1 0 8M")
            overlay, _ = await rig.create(srcImgUUID=template[0], srcVolUUID=template[1])
            source = await rig.new_volume()
            write(rig.file(source), "write -P 2 1M 1M")
            assert (await rig.copy(rig.div(source), rig.div(overlay)))["status"] == "done"
            assert same(rig.file(source), rig.file(overlay))

    asyncio.run(scenario())


def test_a_smaller_source_leaves_the_rest_zero_and_the_capacity_right(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            source = await rig.new_volume(size=str(4 * MIB), volFormat=5)
            write(rig.file(source), "write -P 3 0 4M", driver="raw")
            for volume_format in (4, 5):
                copy = await rig.new_volume(volFormat=volume_format)
                assert (await rig.copy(rig.div(source), rig.div(copy)))["status"] == "done"
                assert header(rig.file(copy), DRIVERS[volume_format])["virtual-size"] == 8 * MIB
            too_small = await rig.new_volume(size=str(MIB))
            job = await rig.copy(rig.div(source), rig.div(too_small))
            assert job["status"] == "failed"
            assert "create the volume as large as the source" in job["error"]["message"]
            assert await rig.marks(too_small) == ("LEAF", "ILLEGAL", 0)

    asyncio.run(scenario())


def test_a_copy_onto_an_illegal_volume_makes_it_legal(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            source, copy = await rig.new_volume(), await rig.new_volume(legal=False)
            assert (await rig.copy(rig.div(source), rig.div(copy, generation=0)))["status"] == "done"
            assert await rig.marks(copy) == ("LEAF", "LEGAL", 1)

    asyncio.run(scenario())


def test_what_may_not_be_copied_changes_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            source, copy = await rig.new_volume(), await rig.new_volume()
            job = await rig.copy(rig.div(source), rig.div(copy, generation=4))
            assert (job["status"], job["error"]["code"]) == ("failed", 911)
            missing = (source[0], new_id())
            assert (await rig.copy(rig.div(missing), rig.div(copy)))["error"]["code"] == 201
            await rig.update(source, 0, legality="ILLEGAL")
            assert (await rig.copy(rig.div(source), rig.div(copy)))["error"]["code"] == 227
            await rig.update(source, 1, legality="LEGAL", type="SHARED")
            assert (await rig.copy(rig.div(copy), rig.div(source)))["error"]["code"] == 219
            assert await rig.marks(copy) == ("LEAF", "LEGAL", 0)
            assert await rig.marks(source) == ("SHARED", "LEGAL", 2)
            same_image = {"job_id": new_id(), "source": rig.div(source), "destination": rig.div(source)}
            assert await refused(rig, "SDM.copy_data", **same_image) == 1000
            without_type = {"job_id": new_id(), "source": rig.div(source), "destination": rig.address(copy)}
            assert await refused(rig, "SDM.copy_data", **without_type) == 100

    asyncio.run(scenario())


def test_a_source_that_somebody_writes_to_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            source, copy = await rig.new_volume(), await rig.new_volume()
            with held(rig.file(source)):
                job = await rig.copy(rig.div(source), rig.div(copy))
            assert "in use by another process" in job["error"]["message"]
            assert await rig.marks(copy) == ("LEAF", "ILLEGAL", 0)
            assert (await rig.copy(rig.div(source), rig.div(copy, generation=0)))["status"] == "done"

    asyncio.run(scenario())


def test_aborting_a_copy_ends_qemu_img_and_leaves_the_volume_illegal(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            source = await rig.new_volume(size=str(2048 * MIB), volFormat=5)
            os.truncate(rig.file(source), 2048 * MIB)
            write(rig.file(source), "write -P 3 0 1024M", driver="raw")
            copy = await rig.new_volume(size=str(2048 * MIB))
            job_id = new_id()
            await rig.call("SDM.copy_data", job_id=job_id, source=rig.div(source), destination=rig.div(copy))
            running = await rig.until(job_id, lambda job: job.get("progress", 0.0) > 0.0)
            assert running["status"] == "running"
            assert (await rig.marks(copy))[1] == "ILLEGAL"
            await rig.call("Vmseal.abortJob", job_id=job_id)
            assert (await rig.ended(job_id))["status"] == "aborted"
            assert await rig.marks(copy) == ("LEAF", "ILLEGAL", 0)
            assert not is_running(copy[1])
            assert (await rig.call("Vmseal.getJobDetails", job_ids=[job_id]))[job_id]["operation"] == "copying"

    asyncio.run(scenario())


def test_a_copy_past_its_deadline_fails(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path, copy_deadline=0.02) as rig:
            source, copy = await rig.new_volume(volFormat=5), await rig.new_volume()
            job = await rig.copy(rig.div(source), rig.div(copy))
            assert job["error"]["message"] == "copy_data took longer than 0.02 seconds and was stopped"
            assert (await rig.marks(copy))[2] == 0

    asyncio.run(scenario())


def test_update_volume_keeps_vdsms_rules(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            disk = await rig.new_volume()

            async def code(expected: int | None, **attributes: Any) -> int:
                job = await rig.update(disk, expected, **attributes)
                assert "progress" not in job
                return int(job["error"]["code"]) if job["status"] == "failed" else 0

            assert await code(1, description="x") == 911
            assert await code(None, description="x") == 911
            assert await code(0, legality="LEGAL") == 235
            assert await rig.marks(disk) == ("LEAF", "LEGAL", 0)
            assert await code(0, description="a\nLEGALITY=ILLEGAL " + "x" * 300) == 0
            info = await rig.info(disk)
            assert (info["legality"], info["generation"], len(info["description"])) == ("LEGAL", 1, 210)
            assert await code(1, generation=998, legality="ILLEGAL") == 0
            assert await code(998, legality="LEGAL") == 0
            assert await code(999, type="SHARED") == 0
            assert await rig.marks(disk) == ("SHARED", "LEGAL", 0)
            assert await code(0, type="SHARED") == 235
            assert await code(0, description="templates may be described") == 0

    asyncio.run(scenario())


def test_update_volume_refuses_at_the_call(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            disk = await rig.new_volume()
            volume = rig.address(disk) | {"generation": 0}
            assert await refused(rig, "SDM.update_volume", job_id="j", vol_info=volume, vol_attr={}) == 100
            await rig.job("SDM.update_volume", "j", vol_info=volume, vol_attr={"description": "x"})
            again = {"job_id": "j", "vol_info": volume, "vol_attr": {"description": "x"}}
            assert await refused(rig, "SDM.update_volume", **again) == 100
            await rig.call("StoragePool.spmStop", storagepoolID=rig.pool)
            await rig.call("StoragePool.disconnect", storagepoolID=rig.pool, hostID=1, scsiKey="")
            assert await refused(rig, "SDM.update_volume", **(again | {"job_id": "k"})) == 313
            copy = {"job_id": "k", "source": rig.div(disk), "destination": rig.div((new_id(), new_id()))}
            assert await refused(rig, "SDM.copy_data", **copy) == 313

    asyncio.run(scenario())


def test_an_update_waits_for_the_copy_and_then_sees_its_generation(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            source, copy = await rig.new_volume(volFormat=5), await rig.new_volume()
            write(rig.file(source), "write -P 3 0 8M", driver="raw")
            copying, fencing = new_id(), new_id()
            destination = rig.div(copy, generation=0)
            await rig.call("SDM.copy_data", job_id=copying, source=rig.div(source), destination=destination)
            volume = rig.address(copy) | {"generation": 0}
            await rig.call("SDM.update_volume", job_id=fencing, vol_info=volume, vol_attr={"generation": 3})
            assert (await rig.ended(copying))["status"] == "done"
            assert (await rig.ended(fencing))["error"]["code"] == 911
            assert await rig.marks(copy) == ("LEAF", "LEGAL", 1)

    asyncio.run(scenario())
