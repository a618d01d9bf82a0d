"""A host agent on a temporary storage domain, driven by its verbs without a connection."""

from __future__ import annotations

import asyncio
import json
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fakes.sealers import FakeSealer

from vmseal.host.agent import Agent
from vmseal.host.proof_jobs import Proves
from vmseal.host.settings import HostSettings
from vmseal.model.volume import BLANK_UUID
from vmseal.rpc.server import Call

MIB = 1024 * 1024


def write(path: Path, *commands: str, driver: str = "qcow2") -> None:
    """Run commands of qemu-io on an image."""
    options = [word for command in commands for word in ("-c", command)]
    subprocess.run(["qemu-io", "-f", driver, *options, str(path)], check=True, stdout=subprocess.DEVNULL)


def same(first: Path, second: Path, drivers: tuple[str, str] = ("qcow2", "qcow2")) -> bool:
    """Return whether two images have the same content."""
    command = ["qemu-img", "compare", "-f", drivers[0], "-F", drivers[1], str(first), str(second)]
    return subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode == 0


def header(path: Path, driver: str = "qcow2") -> dict[str, Any]:
    """Return what qemu-img says of an image."""
    command = ["qemu-img", "info", "--output=json", "-f", driver, str(path)]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))


@contextmanager
def held(path: Path, *options: str, driver: str = "qcow2") -> Iterator[None]:
    """Have another process hold the image open, as a VM does; ``-r`` only for reading."""
    command = ["qemu-io", *options, "-f", driver, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdin.write(b"read 0 512\n")
        holder.stdin.flush()
        holder.stdout.readline()
        yield
        holder.stdin.close()


def is_running(word: str) -> bool:
    """Return whether a process has ``word`` in its command line."""
    return subprocess.run(["pgrep", "-f", word], check=False, stdout=subprocess.DEVNULL).returncode == 0


def new_id() -> str:
    return str(uuid.uuid4())


@dataclass
class Rig:
    """The agent and the ids of its pool and domain. Answers are JSON, hence ``Any``."""

    agent: Agent
    path: Path
    sealer: FakeSealer
    pool: str = field(default_factory=new_id)
    domain: str = field(default_factory=new_id)

    @property
    def images(self) -> Path:
        return self.path / self.domain / "images"

    def file(self, disk: tuple[str, str]) -> Path:
        return self.images / disk[0] / disk[1]

    def meta(self, disk: tuple[str, str]) -> Path:
        return self.images / disk[0] / f"{disk[1]}.meta"

    async def call(self, verb: str, **params: Any) -> Any:
        return await self.agent.verbs.dispatch(verb, params, Call("test", "tests"))

    async def connect(self, *, create: bool = True) -> None:
        connection = {"id": new_id(), "connection": str(self.path)}
        [answer] = await self.call(
            "StoragePool.connectStorageServer",
            storagepoolID=BLANK_UUID,
            domainType=4,
            connectionParams=[connection],
        )
        assert answer == {"id": connection["id"], "status": 0}
        if create:
            await self.create_pool()
        await self.call(
            "StoragePool.connect",
            storagepoolID=self.pool,
            hostID=1,
            scsiKey="",
            masterSdUUID=self.domain,
            masterVersion=1,
            domainDict={self.domain: "active"},
        )
        await self.task(await self.call("StoragePool.spmStart", storagepoolID=self.pool, prevID=-1, prevLver="-1"))

    async def create_pool(self) -> None:
        await self.call(
            "StorageDomain.create",
            storagedomainID=self.domain,
            domainType=4,
            typeArgs=str(self.path),
            name="data",
            domainClass=1,
            version="5",
            blockSize=0,
            maxHosts=250,
        )
        await self.call(
            "StoragePool.create",
            storagepoolID=self.pool,
            name="pool",
            masterSdUUID=self.domain,
            masterVersion=1,
            domainList=[self.domain],
        )

    async def task(self, task_id: str) -> dict[str, Any]:
        """Wait for a task's end, clear it, and return its status."""
        while (status := await self.call("Task.getStatus", taskID=task_id))["taskState"] != "finished":  # noqa: ASYNC110  the protocol has no event for it
            await asyncio.sleep(0.005)
        await self.call("Task.clear", taskID=task_id)
        return dict(status)

    async def create(
        self, disk: tuple[str, str] | None = None, **changes: Any
    ) -> tuple[tuple[str, str], dict[str, Any]]:
        """Make a volume; return image and volume id, and the task's status."""
        disk = disk or (new_id(), new_id())
        params = {
            "volumeID": disk[1],
            "storagepoolID": self.pool,
            "storagedomainID": self.domain,
            "imageID": disk[0],
            "size": str(8 * MIB),
            "volFormat": 4,
            "preallocate": 2,
            "diskType": "DATA",
            "desc": "a disk",
            "srcImgUUID": BLANK_UUID,
            "srcVolUUID": BLANK_UUID,
        } | changes
        return disk, await self.task(await self.call("Volume.create", **params))

    async def new_volume(self, **changes: Any) -> tuple[str, str]:
        disk, status = await self.create(**changes)
        assert status["code"] == 0, status
        return disk

    def address(self, disk: tuple[str, str]) -> dict[str, str]:
        return {"sd_id": self.domain, "img_id": disk[0], "vol_id": disk[1]}

    def div(self, disk: tuple[str, str], **more: Any) -> dict[str, Any]:
        return {"endpoint_type": "div", **self.address(disk), **more}

    async def info(self, disk: tuple[str, str]) -> dict[str, Any]:
        return dict(
            await self.call(
                "Volume.getInfo",
                volumeID=disk[1],
                storagepoolID=self.pool,
                storagedomainID=self.domain,
                imageID=disk[0],
            )
        )

    async def marks(self, disk: tuple[str, str]) -> tuple[str, str, int]:
        """Return type, legality and generation."""
        info = await self.info(disk)
        return info["voltype"], info["legality"], info["generation"]

    async def job(self, verb: str, job_id: str | None = None, **params: Any) -> dict[str, Any]:
        """Start a job, wait for its end, and return it as ``Host.getJobs`` shows it."""
        job_id = job_id or new_id()
        assert await self.call(verb, job_id=job_id, **params) is None
        return await self.ended(job_id)

    async def ended(self, job_id: str) -> dict[str, Any]:
        return await self.until(job_id, lambda job: job["status"] in ("done", "failed", "aborted"))

    async def until(self, job_id: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        async with asyncio.timeout(60):
            # jobs are polled, as the engine does
            while not condition(job := (await self.call("Host.getJobs", job_ids=[job_id]))[job_id]):  # noqa: ASYNC110  the protocol has no event for it
                await asyncio.sleep(0.005)
        return dict(job)

    async def update(self, disk: tuple[str, str], expected: int | None, /, **attributes: Any) -> dict[str, Any]:
        volume: dict[str, Any] = dict(self.address(disk))
        if expected is not None:
            volume["generation"] = expected
        return await self.job("SDM.update_volume", vol_info=volume, vol_attr=attributes)

    async def copy(self, source: dict[str, Any], destination: dict[str, Any]) -> dict[str, Any]:
        return await self.job("SDM.copy_data", source=source, destination=destination)

    async def seal(self, *disks: tuple[str, str], job_id: str | None = None, **options: Any) -> dict[str, Any]:
        """Seal disks; ``options`` are those of our extension."""
        images = [self.address(disk) for disk in disks]
        more = {"vmseal": options} if options else {}
        return await self.job("VM.seal", job_id, vmID="template", sp_id=self.pool, images=images, **more)

    async def delete(self, image: str) -> dict[str, Any]:
        return await self.task(
            await self.call(
                "Image.delete",
                imageID=image,
                storagepoolID=self.pool,
                storagedomainID=self.domain,
                postZero="false",
                force="false",
            )
        )


def settings(folder: Path, **changes: Any) -> HostSettings:
    """Return settings of an agent with its state below ``folder`` that may import from ``folder``/import."""
    (folder / "import").mkdir(exist_ok=True)
    values: dict[str, Any] = {"state": folder / "state", "port": 0, "insecure": True}
    return HostSettings(**(values | {"import_folders": [folder / "import"]} | changes))


@asynccontextmanager
async def running_rig(
    folder: Path,
    *,
    sealer: FakeSealer | None = None,
    others: Sequence[FakeSealer] = (),
    prover: Proves | None = None,
    **changes: Any,
) -> AsyncIterator[Rig]:
    """Run an agent whose domain is in ``folder``/domain, with the pool connected."""
    rig = await started(folder, sealer=sealer, others=others, prover=prover, **changes)
    try:
        await rig.connect()
        yield rig
    finally:
        await rig.agent.close()


async def started(
    folder: Path,
    *,
    sealer: FakeSealer | None = None,
    others: Sequence[FakeSealer] = (),
    prover: Proves | None = None,
    **changes: Any,
) -> Rig:
    """Return a started agent that knows no storage yet."""
    (folder / "domain").mkdir(exist_ok=True)
    sealer = sealer or FakeSealer()
    agent = Agent(settings(folder, **changes), sealer=sealer, others=others, prover=prover)
    await agent.start()
    return Rig(agent, folder / "domain", sealer)
