"""Volumes and images on a real domain: what VDSM's clients see, and which codes they get."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path
from typing import Any

import pytest
from tests.contract.host_rig import MIB, Rig, header, new_id, running_rig

from vmseal.model.errors import VerbError
from vmseal.model.volume import BLANK_UUID


def is_same_file(path: str, other: Path) -> bool:
    return Path(path).exists() and other.samefile(path)


async def refused(rig: Rig, verb: str, **params: Any) -> int:
    with pytest.raises(VerbError) as caught:
        await rig.call(verb, **params)
    return caught.value.code


def ids(rig: Rig, disk: tuple[str, str]) -> dict[str, str]:
    return {"volumeID": disk[1], "storagepoolID": rig.pool, "storagedomainID": rig.domain, "imageID": disk[0]}


async def make_shared(rig: Rig, disk: tuple[str, str]) -> None:
    assert (await rig.update(disk, 0, type="SHARED"))["status"] == "done"


async def clone_of(rig: Rig, template: tuple[str, str], **changes: Any) -> tuple[tuple[str, str], dict[str, Any]]:
    return await rig.create(srcImgUUID=template[0], srcVolUUID=template[1], **changes)


def test_get_info_has_vdsms_types(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            disk = await rig.new_volume(size=str(8 * MIB - 1))
            info = await rig.info(disk)
            ctime = info.pop("ctime")
            assert isinstance(ctime, str)
            assert ctime.isdecimal()
            assert int(info.pop("truesize")) > 0
            assert int(info.pop("apparentsize")) == rig.file(disk).stat().st_size
            assert info == {
                "uuid": disk[1],
                "type": "SPARSE",
                "format": "COW",
                "disktype": "DATA",
                "voltype": "LEAF",
                "capacity": str(8 * MIB),
                "parent": BLANK_UUID,
                "description": "a disk",
                "pool": "",
                "domain": rig.domain,
                "image": disk[0],
                "mtime": "0",
                "legality": "LEGAL",
                "generation": 0,
                "sequence": 0,
                "status": "OK",
                "children": [],
            }

    asyncio.run(scenario())


@pytest.mark.parametrize(("volume_format", "allocation"), [(4, 2), (5, 2), (5, 1), (4, 1)])
def test_volumes_are_made_in_every_form(tmp_path: Path, volume_format: int, allocation: int) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            disk = await rig.new_volume(volFormat=volume_format, preallocate=allocation, legal=False)
            file = rig.file(disk)
            assert stat.S_IMODE(file.stat().st_mode) == 0o660
            info = await rig.info(disk)
            assert (info["status"], info["legality"]) == ("ILLEGAL", "ILLEGAL")
            assert (info["format"], info["type"]) == (
                "COW" if volume_format == 4 else "RAW",
                "PREALLOCATED" if allocation == 1 else "SPARSE",
            )
            if volume_format == 4:
                assert header(file)["virtual-size"] == 8 * MIB
            else:
                assert file.stat().st_size == 8 * MIB
            if allocation == 1:
                assert file.stat().st_blocks * 512 >= 8 * MIB
            else:
                assert file.stat().st_blocks * 512 < MIB

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"size": "0"}, 1000),
        ({"size": "-4096"}, 1000),
        ({"size": "1e9"}, 1000),
        ({"size": "99999999999999999999999"}, 1000),
        ({"size": ""}, 1000),
        ({"volFormat": 6}, 202),
        ({"preallocate": 0}, 231),
        ({"diskType": "DATA\nLEGALITY=LEGAL"}, 1000),
        ({"sequence": -1}, 1000),
        ({"volumeID": BLANK_UUID}, 1000),
        ({"desc": "\N{SNOWMAN}" * 200}, 756),
        ({"storagedomainID": new_id()}, 358),
        ({"storagepoolID": new_id()}, 309),
        ({"srcVolUUID": new_id(), "volFormat": 5}, 202),
        ({"srcVolUUID": new_id()}, 201),
    ],
)
def test_a_wrong_create_is_refused_and_leaves_nothing(tmp_path: Path, changes: dict[str, Any], code: int) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            with pytest.raises(VerbError) as caught:
                await rig.create(**changes)
            assert caught.value.code == code
            assert not list(rig.images.iterdir())

    asyncio.run(scenario())


def test_a_volume_larger_than_the_file_system_allows_is_205_and_leaves_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            for volume_format in (4, 5):
                _, status = await rig.create(size=str(2**61), volFormat=volume_format)
                assert (status["taskState"], status["taskResult"], status["code"]) == ("finished", "cleanSuccess", 205)
            assert not list(rig.images.iterdir())

    asyncio.run(scenario())


def test_the_same_volume_again_is_212(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            disk = await rig.new_volume()
            before = rig.file(disk).stat()
            _, status = await rig.create(disk)
            assert status["code"] == 212
            assert rig.file(disk).stat() == before

    asyncio.run(scenario())


def test_a_snapshot_makes_its_parent_internal(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            base = await rig.new_volume()
            top = (base[0], new_id())
            _, status = await rig.create(top, srcVolUUID=base[1], srcImgUUID=base[0])
            assert status["code"] == 0, status
            assert (await rig.marks(base))[0] == "INTERNAL"
            assert (await rig.info(base))["children"] == [top[1]]
            shown = header(rig.file(top))
            assert (shown["backing-filename"], shown["backing-filename-format"]) == (base[1], "qcow2")
            assert await refused(rig, "Volume.delete", **(ids(rig, base) | {"volumeID": [new_id()]})) == 201
            task = await rig.call("Volume.delete", **(ids(rig, base) | {"volumeID": [base[1]]}))
            assert (await rig.task(task))["code"] == 204
            task = await rig.call("Volume.delete", **(ids(rig, top) | {"volumeID": [top[1]]}))
            assert (await rig.task(task))["code"] == 0
            assert await rig.marks(base) == ("LEAF", "LEGAL", 0)
            assert (await rig.call("Image.getVolumes", **ids(rig, base))) == [base[1]]

    asyncio.run(scenario())


def test_a_parent_must_be_legal_and_not_larger(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            base = await rig.new_volume(legal=False)
            _, status = await clone_of(rig, base)
            assert status["code"] == 226
            assert (await rig.marks(base))[0] == "LEAF"
            other = await rig.new_volume()
            _, status = await clone_of(rig, other, size=str(MIB))
            assert status["code"] == 1000
            assert len(await rig.call("StorageDomain.getImages", storagedomainID=rig.domain)) == 2

    asyncio.run(scenario())


def test_a_thin_clone_shares_its_template(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            template = await rig.new_volume(volFormat=5)
            clone, status = await clone_of(rig, template)
            assert status["code"] == 0, status
            assert await rig.marks(template) == ("SHARED", "LEGAL", 0)
            linked = rig.file((clone[0], template[1]))
            assert linked.samefile(rig.file(template))
            assert rig.meta((clone[0], template[1])).samefile(rig.meta(template))
            shown = header(rig.file(clone))
            assert (shown["backing-filename"], shown["backing-filename-format"]) == (template[1], "raw")
            assert await rig.call("Image.getVolumes", **ids(rig, clone)) == sorted([clone[1], template[1]])
            assert (await rig.info(template))["children"] == [clone[1]]
            assert (await rig.info((clone[0], template[1])))["image"] == template[0]
            grandchild = (clone[0], new_id())
            _, status = await rig.create(grandchild, srcVolUUID=clone[1], srcImgUUID=clone[0])
            assert status["code"] == 0
            _, status = await clone_of(rig, grandchild)
            assert status["code"] == 214
            _, status = await rig.create((clone[0], new_id()), srcImgUUID=template[0], srcVolUUID=template[1])
            assert status["code"] == 1000

    asyncio.run(scenario())


def test_a_template_in_use_is_not_deleted(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            template = await rig.new_volume()
            clone, _ = await clone_of(rig, template)
            delete = {"imageID": template[0], "storagepoolID": rig.pool, "storagedomainID": rig.domain}
            assert await refused(rig, "Image.delete", **delete) == 223
            assert (await rig.delete(clone[0]))["code"] == 0
            assert await rig.call("StorageDomain.getImages", storagedomainID=rig.domain) == [template[0]]
            assert (await rig.delete(template[0]))["code"] == 0
            assert not list(rig.images.iterdir())
            assert await refused(rig, "Image.delete", **delete) == 268

    asyncio.run(scenario())


def test_an_image_with_unreadable_metadata_can_be_deleted_unless_it_is_linked(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            template = await rig.new_volume()
            clone, _ = await clone_of(rig, template)
            rig.meta(template).write_text("garbage\nEOF\n")  # also what the clone's link shows
            info = await rig.info(template)
            assert (info["status"], info["apparentsize"], set(info)) == (
                "INVALID",
                "0",
                {"status", "apparentsize", "truesize", "children"},
            )
            assert (await rig.update(template, 0, description="x"))["error"]["code"] == 855
            delete = {"imageID": template[0], "storagepoolID": rig.pool, "storagedomainID": rig.domain}
            assert await refused(rig, "Image.delete", **delete) == 223
            assert (await rig.delete(clone[0]))["code"] == 0
            assert (await rig.delete(template[0]))["code"] == 0

    asyncio.run(scenario())


def test_prepare_counts_the_whole_image(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            base = await rig.new_volume()
            top = (base[0], new_id())
            await rig.create(top, srcVolUUID=base[1], srcImgUUID=base[0])
            prepared = await rig.call("Image.prepare", **ids(rig, top))
            assert prepared == {"path": str(rig.file(top))}
            assert await refused(rig, "Image.prepare", **(ids(rig, top) | {"volumeID": new_id()})) == 201
            assert await refused(rig, "Image.prepare", **(ids(rig, top) | {"imageID": new_id()})) == 254
            assert await refused(rig, "Image.prepare", **(ids(rig, top) | {"storagepoolID": new_id()})) == 309
            await rig.update(top, 0, legality="ILLEGAL")
            assert await refused(rig, "Image.prepare", **ids(rig, base)) == 227
            assert await rig.call("Image.prepare", **ids(rig, base), allowIllegal=True) == {"path": str(rig.file(base))}
            blank = await rig.call(
                "Image.prepare", **(ids(rig, base) | {"storagepoolID": BLANK_UUID}), allowIllegal=True
            )
            assert is_same_file(blank["path"], rig.file(base))
            for _ in range(2):
                assert await rig.call("Image.teardown", **ids(rig, base)) is None
            assert not is_same_file(blank["path"], rig.file(base))
            assert rig.file(base).exists()

    asyncio.run(scenario())


def test_a_missing_volume_is_201(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            disk = await rig.new_volume()
            assert await refused(rig, "Volume.getInfo", **(ids(rig, disk) | {"volumeID": new_id()})) == 201
            assert await refused(rig, "Volume.getInfo", **(ids(rig, disk) | {"imageID": new_id()})) == 201
            assert await refused(rig, "Volume.getSize", **(ids(rig, disk) | {"volumeID": new_id()})) == 201
            rig.meta(disk).unlink()
            assert await refused(rig, "Volume.getInfo", **ids(rig, disk)) == 201

    asyncio.run(scenario())


def test_dump_and_lists_show_the_domain(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            template = await rig.new_volume()
            clone, _ = await clone_of(rig, template)
            dump = await rig.call("StorageDomain.dump", sd_id=rig.domain)
            assert set(dump["volumes"]) == {template[1], clone[1]}
            assert dump["volumes"][template[1]]["image"] == template[0]
            assert dump["volumes"][clone[1]]["status"] == "OK"
            volumes = await rig.call("StorageDomain.getVolumes", storagepoolID=rig.pool, storagedomainID=rig.domain)
            assert volumes == sorted([template[1], clone[1]])

    asyncio.run(scenario())
