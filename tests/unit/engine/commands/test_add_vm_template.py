"""Making templates: the good way, every bad way, and that nothing is ever published unsealed."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.fakes.engine import engine_on_fake

from vmseal.model.volume import BLANK_UUID, Legality, VolumeAddress, VolumeType


def test_a_sealed_template_is_made(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine_on_fake(tmp_path) as engine:
            vm_id = engine.add_vm(disks=2)
            started = await engine.add_template()
            job = await engine.ended(started.job_id)
            assert (job.status, job.reason) == ("finished", "")
            template = engine.template(started.entity_id)
            assert template is not None
            assert (template.status, template.sealed) == ("ok", True)
            assert template.seal_report == {"sealer": "fake", "schema": 1}
            for attachment, content in zip(template.attachments, ("src-0", "src-1"), strict=True):
                disk = attachment.disk
                volume = engine.host.volumes[VolumeAddress(engine.domain, disk.id, disk.volume_id)]
                assert (disk.status, disk.actual_size) == ("ok", 4096)
                assert (volume.meta.type, volume.meta.legality) == (VolumeType.SHARED, Legality.LEGAL)
                assert (volume.meta.generation, volume.meta.parent) == (3, BLANK_UUID)
                assert (volume.content, volume.sealed) == (content, True)
            assert engine.host.published_unsealed == []
            assert engine.vm_status(vm_id) == "down"
            assert engine.count("entity_lock") == 0
            assert engine.event_codes() == [48, 51]

    asyncio.run(scenario())
