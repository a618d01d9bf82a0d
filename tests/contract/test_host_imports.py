"""Image files from outside: what is copied, and what is refused with which words."""

from __future__ import annotations

import asyncio
import os
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.contract.host_rig import MIB, Rig, held, running_rig, same, write

from vmseal.model.errors import VerbError


def qemu_img(*arguments: str | Path) -> None:
    subprocess.run(["qemu-img", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def qcow2(path: Path, *options: str | Path, size: str = "8M") -> Path:
    qemu_img("create", "-q", "-f", "qcow2", *options, path, size)
    return path


def filled(path: Path) -> Path:
    qcow2(path)
    write(path, "write -P 7 1M 5M")
    return path


def patch(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, new))


async def inspect(rig: Rig, path: Path | str, image_format: str | None = None) -> dict[str, Any]:
    return dict(await rig.call("Vmseal.inspectImage", path=str(path), format=image_format))


async def refusal(rig: Rig, path: Path | str, image_format: str | None = None) -> str:
    with pytest.raises(VerbError) as caught:
        await inspect(rig, path, image_format)
    return caught.value.message


def test_a_file_is_inspected_and_copied(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            base = filled(tmp_path / "import" / "base image.qcow2")
            overlay = qcow2(tmp_path / "import" / "top.qcow2", "-b", base.name, "-F", "qcow2")
            before = [path.read_bytes() for path in (base, overlay)]
            shown = await inspect(rig, overlay)
            assert shown["format"] == "cow"
            assert shown["virtual_size"] == 8 * MIB
            assert shown["chain"] == [str(overlay), str(base)]
            copy = await rig.new_volume(volFormat=5)
            source = {"endpoint_type": "external", "url": f"file://{overlay}", "format": "cow"}
            assert (await rig.copy(source, rig.div(copy, generation=0)))["status"] == "done"
            assert same(overlay, rig.file(copy), ("qcow2", "raw"))
            assert [path.read_bytes() for path in (base, overlay)] == before
            source = {"endpoint_type": "external", "url": (base.as_uri()), "format": "cow"}
            assert (await rig.copy(source, rig.div(copy, generation=1)))["status"] == "done"

    asyncio.run(scenario())


def test_only_the_allowed_folders_are_read(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            outside = qcow2(tmp_path / "outside.qcow2")
            folder = tmp_path / "import"
            (folder / "link").symlink_to(outside)
            (folder / "folder").symlink_to(tmp_path)
            for path in (
                outside,
                folder / "link",
                folder / "folder" / "outside.qcow2",
                folder / ".." / "outside.qcow2",
            ):
                assert "outside the folders" in await refusal(rig, path)
            assert "outside the folders" in await refusal(rig, "/etc/passwd")
            assert "not an absolute path" in await refusal(rig, "import/x")
            assert "missing" in await refusal(rig, folder / "missing")
            assert "not a regular file" in await refusal(rig, folder)
            secret = qcow2(folder / "secret.qcow2", "-u", "-b", "/etc/passwd", "-F", "raw")
            assert "Backing file" in (text := await refusal(rig, secret))
            assert "outside the folders" in text
            copy = await rig.new_volume()
            for url in (f"file://{secret}", "http://host/x", "nbd://host/x", "file://host/x", "/x"):
                job = await rig.copy({"endpoint_type": "external", "url": url, "format": "cow"}, rig.div(copy))
                assert job["status"] == "failed"
            assert await rig.marks(copy) == ("LEAF", "LEGAL", 0)

    asyncio.run(scenario())


def test_nothing_is_read_unless_allowed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path, import_folders=[]) as rig:
            path = qcow2(tmp_path / "import" / "x.qcow2")
            assert "(none)" in await refusal(rig, path)

    asyncio.run(scenario())


def test_what_is_broken_is_said(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            folder = tmp_path / "import"
            truncated = filled(folder / "truncated.qcow2")
            os.truncate(truncated, 3 * MIB)
            assert "damaged or truncated" in await refusal(rig, truncated)
            (folder / "head").write_bytes(b"QFI\xfb\0\0\0\x03")
            assert "no whole qcow2 header" in await refusal(rig, folder / "head")
            (folder / "empty").touch()
            assert "is empty" in await refusal(rig, folder / "empty")
            (folder / "odd.raw").write_bytes(b"x" * 1000)
            assert "truncated" in await refusal(rig, folder / "odd.raw")
            orphan = qcow2(folder / "orphan.qcow2", "-u", "-b", "gone.qcow2", "-F", "qcow2")
            assert "gone.qcow2 is missing" in await refusal(rig, orphan)
            # what today's qemu-img does not make any more, older ones did
            qcow2(folder / "unstated.qcow2", "-b", filled(folder / "base.qcow2"), "-F", "qcow2")
            patch(folder / "unstated.qcow2", b"\xe2\x79\x2a\xca", b"\1\1\1\1")  # the header extension of the format
            assert "of format unstated" in await refusal(rig, folder / "unstated.qcow2")
            patch(orphan, b"gone.qcow2", b"nbd:h:1234")
            assert "not an absolute path" in await refusal(rig, orphan)
            qcow2(folder / "b.qcow2", "-b", qcow2(folder / "a.qcow2"), "-F", "qcow2")
            qemu_img("rebase", "-u", "-f", "qcow2", "-b", "b.qcow2", "-F", "qcow2", folder / "a.qcow2")
            assert "form a circle" in await refusal(rig, folder / "a.qcow2")

    asyncio.run(scenario())


def test_other_formats_are_named(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            folder = tmp_path / "import"
            image = filled(folder / "x.qcow2")
            assert "is qcow2, not raw as stated" in await refusal(rig, image, "raw")
            (folder / "x.raw").write_bytes(b"\0" * MIB)
            assert "is raw, not qcow2 as stated" in await refusal(rig, folder / "x.raw", "cow")
            assert (await inspect(rig, folder / "x.raw"))["format"] == "raw"
            for other in ("vmdk", "vdi", "vhdx"):
                qemu_img("convert", "-f", "qcow2", "-O", other, image, folder / f"x.{other}")
                assert f"is {other.upper()}: make it qcow2 or raw" in await refusal(rig, folder / f"x.{other}")
            external = qcow2(folder / "external.qcow2", "-o", f"data_file={folder}/data.raw")
            assert "keeps its data in another file" in await refusal(rig, external)

    asyncio.run(scenario())


def test_raw_images_shorter_than_their_partitions_are_truncated(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            mbr = bytearray(512)
            mbr[446 + 4] = 0x83
            struct.pack_into("<II", mbr, 446 + 8, 2048, 4 * MIB // 512 - 2048)
            mbr[510:512] = b"\x55\xaa"
            path = tmp_path / "import" / "disk.raw"
            path.write_bytes(bytes(mbr))
            os.truncate(path, 4 * MIB)
            assert (await inspect(rig, path))["virtual_size"] == 4 * MIB
            os.truncate(path, 3 * MIB)
            assert f"its partition table needs {4 * MIB}" in await refusal(rig, path)

    asyncio.run(scenario())


def test_an_image_in_use_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            image = filled(tmp_path / "import" / "x.qcow2")
            with held(image):
                assert "in use by another process" in await refusal(rig, image)
            assert (await inspect(rig, image))["format"] == "cow"

    asyncio.run(scenario())
