"""What a crash can leave, and what is there after the next start."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.contract.host_rig import Rig, new_id, running_rig, started

from vmseal.host.volume import Volume
from vmseal.model.errors import DomainInaccessible
from vmseal.model.volume import Legality, VolumeType


def tree(rig: Rig) -> set[str]:
    return {str(path.relative_to(rig.images)) for path in rig.images.rglob("*")}


def after_crash(folder: Path, leave: Callable[[Rig], Awaitable[None]], check: Callable[[Rig], Awaitable[None]]) -> None:
    """Run ``leave`` with one agent and ``check`` with the next one on the same domain."""

    async def scenario() -> None:
        async with running_rig(folder) as rig:
            await leave(rig)
        again = await started(folder)
        again.pool, again.domain = rig.pool, rig.domain
        try:
            await again.connect(create=False)
            await check(again)
        finally:
            await again.agent.close()

    asyncio.run(scenario())


def test_remnants_go_and_whole_volumes_stay(tmp_path: Path) -> None:
    kept: list[tuple[str, str]] = []

    async def leave(rig: Rig) -> None:
        kept.extend([await rig.new_volume(), await rig.new_volume(legal=False)])
        image = rig.images / kept[0][0]
        (image / f"{kept[0][1]}.meta.new").write_text("CAP=1")
        (image / new_id()).write_bytes(b"data without metadata")
        (image / f"{new_id()}.meta").write_bytes(b"metadata without data")
        (rig.images / new_id()).mkdir()
        unfinished = rig.images / new_id()
        unfinished.mkdir()
        (unfinished / new_id()).write_bytes(b"data without metadata")
        deleted = rig.images / f"_remove_me_{new_id()}"
        deleted.mkdir()
        (deleted / new_id()).write_bytes(b"data")

    async def check(rig: Rig) -> None:
        expected = {image for image, _ in kept} | {f"{image}/{volume}" for image, volume in kept}
        assert tree(rig) == expected | {f"{image}/{volume}.meta" for image, volume in kept}
        assert await rig.marks(kept[0]) == ("LEAF", "LEGAL", 0)
        assert await rig.marks(kept[1]) == ("LEAF", "ILLEGAL", 0)

    after_crash(tmp_path, leave, check)


def test_an_unfinished_clone_goes_and_its_template_stays(tmp_path: Path) -> None:
    template = (new_id(), new_id())

    async def leave(rig: Rig) -> None:
        await rig.create(template)
        clone, _ = await rig.create(srcImgUUID=template[0], srcVolUUID=template[1])
        rig.meta(clone).unlink()  # as if the metadata had not been written yet

    async def check(rig: Rig) -> None:
        assert tree(rig) == {template[0], "/".join(template), "/".join(template) + ".meta"}
        assert await rig.marks(template) == ("SHARED", "LEGAL", 0)
        assert rig.file(template).stat().st_nlink == 1

    after_crash(tmp_path, leave, check)


@pytest.mark.parametrize("moment", ["parent not INTERNAL yet", "child gone, parent not LEAF yet"])
def test_roles_within_an_image_are_mended(tmp_path: Path, moment: str) -> None:
    base = (new_id(), new_id())

    async def leave(rig: Rig) -> None:
        await rig.create(base)
        volume = Volume(rig.images / base[0], base[1])
        if moment.startswith("parent"):
            await rig.create((base[0], new_id()), srcImgUUID=base[0], srcVolUUID=base[1])
            volume.become(VolumeType.LEAF)
        else:
            volume.become(VolumeType.INTERNAL)

    async def check(rig: Rig) -> None:
        role = "INTERNAL" if moment.startswith("parent") else "LEAF"
        assert await rig.marks(base) == (role, "LEGAL", 0)

    after_crash(tmp_path, leave, check)


def test_a_volume_that_was_being_written_stays_illegal(tmp_path: Path) -> None:
    disk = (new_id(), new_id())

    async def leave(rig: Rig) -> None:
        await rig.create(disk)
        volume = Volume(rig.images / disk[0], disk[1])
        volume.store(replace(volume.load(), legality=Legality.ILLEGAL))

    async def check(rig: Rig) -> None:
        assert await rig.marks(disk) == ("LEAF", "ILLEGAL", 0)
        assert await rig.call("Host.getJobs") == {}

    after_crash(tmp_path, leave, check)


def test_an_image_that_cannot_be_read_is_left_alone(tmp_path: Path) -> None:
    disk = (new_id(), new_id())

    async def leave(rig: Rig) -> None:
        await rig.create(disk)
        rig.meta(disk).write_text("damaged\nEOF\n")

    async def check(rig: Rig) -> None:
        assert tree(rig) == {disk[0], "/".join(disk), "/".join(disk) + ".meta"}
        assert (await rig.info(disk))["status"] == "INVALID"

    after_crash(tmp_path, leave, check)


def test_a_second_process_is_told_who_owns_the_domain(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            other = await started(tmp_path, state=tmp_path / "other-state")
            other.pool, other.domain = rig.pool, rig.domain
            try:
                with pytest.raises(
                    DomainInaccessible, match=r"belongs to another process \(process \d+: .*stop"
                ) as caught:
                    await other.connect(create=False)
                assert caught.value.code == 379
            finally:
                await other.agent.close()

    asyncio.run(scenario())
