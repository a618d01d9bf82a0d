"""Pools, domains, SPM and tasks: the order of calls that VDSM wants, and its refusals."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.contract.host_rig import Rig, new_id, running_rig, started

from vmseal.model.errors import VerbError
from vmseal.model.volume import BLANK_UUID
from vmseal.rpc.verb import EXTENSION_FEATURE


async def refused(rig: Rig, verb: str, **params: Any) -> int:
    with pytest.raises(VerbError) as caught:
        await rig.call(verb, **params)
    return caught.value.code


async def connect_server(rig: Rig, *paths: str) -> Any:
    connections = [{"id": new_id(), "connection": path} for path in paths]
    return await rig.call(
        "StoragePool.connectStorageServer", storagepoolID=BLANK_UUID, domainType=4, connectionParams=connections
    )


def test_a_domain_has_vdsms_layout(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            folder = rig.path / rig.domain
            modes = {path.name: path.stat().st_mode & 0o777 for path in (folder / "dom_md").iterdir()}
            assert {name: modes[name] for name in ("ids", "leases", "inbox", "outbox")} == dict.fromkeys(
                ("ids", "leases", "inbox", "outbox"), 0o660
            )
            assert set(modes) == {"ids", "leases", "inbox", "outbox", "metadata"}
            lines = (folder / "dom_md" / "metadata").read_text().splitlines()
            assert lines == sorted(lines)
            assert {"CLASS=Data", "VERSION=5", "TYPE=LOCALFS", "ROLE=Master", f"POOL_UUID={rig.pool}"} < set(lines)
            assert f"POOL_DOMAINS={rig.domain}:Active" in lines
            info = await rig.call("StorageDomain.getInfo", storagedomainID=rig.domain)
            assert info == {
                "uuid": rig.domain,
                "type": "LOCALFS",
                "class": "Data",
                "name": "data",
                "role": "Master",
                "pool": [rig.pool],
                "version": "5",
                "block_size": 512,
                "alignment": 1048576,
                "remotePath": str(rig.path),
            }
            stats = await rig.call("StorageDomain.getStats", storagedomainID=rig.domain)
            assert int(stats["disktotal"]) >= int(stats["diskfree"]) > 0

    asyncio.run(scenario())


def test_a_folder_that_cannot_be_used_is_a_status_and_not_an_error(tmp_path: Path) -> None:
    async def scenario() -> None:
        rig = await started(tmp_path)
        (tmp_path / "file").touch()
        try:
            answers = await connect_server(
                rig, str(tmp_path / "missing"), str(tmp_path / "file"), "relative", str(rig.path)
            )
            assert [answer["status"] == 0 for answer in answers] == [False, False, False, True]
            assert (
                await refused(
                    rig, "StoragePool.connectStorageServer", storagepoolID=BLANK_UUID, domainType=4, connectionParams=[]
                )
                == 1000
            )
        finally:
            await rig.agent.close()

    asyncio.run(scenario())


def test_nothing_is_known_after_a_start(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            assert await rig.call("Host.getConnectedStoragePools") == [rig.pool]
        again = await started(tmp_path)
        again.pool, again.domain = rig.pool, rig.domain
        try:
            assert await again.call("Host.getConnectedStoragePools") == []
            assert await refused(again, "StorageDomain.getInfo", storagedomainID=rig.domain) == 358
            assert await refused(again, "Host.getAllTasksStatuses") == 654
            pool = {"storagepoolID": rig.pool}
            assert await refused(again, "StoragePool.spmStart", **pool) == 309
            assert await refused(again, "StoragePool.getSpmStatus", **pool) == 309
            connect = pool | {"hostID": 1, "masterSdUUID": rig.domain, "masterVersion": 1}
            assert await refused(again, "StoragePool.connect", **connect) == 304
            await again.connect(create=False)
            assert await again.call("Host.getStorageDomains") == [rig.domain]
        finally:
            await again.agent.close()

    asyncio.run(scenario())


def test_the_spm_role_is_needed_taken_and_given_up(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            pool = {"storagepoolID": rig.pool}
            disk = await rig.new_volume()
            assert await rig.call("StoragePool.getSpmStatus", **pool) == {"spmStatus": "SPM", "spmLver": -1, "spmId": 1}
            leave = pool | {"hostID": 1, "scsiKey": ""}
            assert await refused(rig, "StoragePool.disconnect", **leave) == 656
            await rig.call("StoragePool.spmStop", **pool)
            assert await rig.call("StoragePool.getSpmStatus", **pool) == {
                "spmStatus": "Free",
                "spmLver": -1,
                "spmId": -1,
            }
            with pytest.raises(VerbError) as caught:
                await rig.create()
            assert caught.value.code == 654
            delete = {"imageID": disk[0], "storagedomainID": rig.domain} | pool
            assert await refused(rig, "Image.delete", **delete) == 654
            await rig.call("StoragePool.disconnect", **leave)
            await rig.call("StoragePool.disconnect", **(leave | {"storagepoolID": new_id()}))
            assert await refused(rig, "Image.delete", **delete) == 309

    asyncio.run(scenario())


def test_one_pool_at_a_time_and_again_is_a_refresh(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            connect = {"storagepoolID": rig.pool, "hostID": 1, "masterSdUUID": rig.domain, "masterVersion": 1}
            await rig.call("StoragePool.connect", **connect, domainDict={rig.domain: "active"})
            status = await rig.call("StoragePool.getSpmStatus", storagepoolID=rig.pool)
            assert status["spmStatus"] == "SPM"
            assert await refused(rig, "StoragePool.connect", **(connect | {"storagepoolID": new_id()})) == 323
            info = (await rig.call("StoragePool.getInfo", storagepoolID=rig.pool))["info"]
            assert (info["domains"], info["name"], info["spm_id"]) == (f"{rig.domain}:Active", "pool", 1)

    asyncio.run(scenario())


def test_domains_are_not_made_over_others_nor_removed_while_in_use(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            create = {"storagedomainID": new_id(), "domainType": 4, "typeArgs": str(rig.path), "name": "second"}
            assert await refused(rig, "StorageDomain.create", **create) == 351
            assert await refused(rig, "StorageDomain.create", **(create | {"version": "4"})) == 351
            assert await refused(rig, "StorageDomain.format", storagedomainID=rig.domain) == 392
            (tmp_path / "second").mkdir()
            await connect_server(rig, str(tmp_path / "second"))
            second = create | {"typeArgs": str(tmp_path / "second")}
            assert await refused(rig, "StorageDomain.create", **(second | {"name": "a\nROLE=Master"})) == 351
            await rig.call("StorageDomain.create", **second)
            ids = {"storagedomainID": second["storagedomainID"], "storagepoolID": rig.pool}
            for verb in ("attach", "attach", "activate", "activate", "deactivate"):
                await rig.call(f"StorageDomain.{verb}", **ids)
            assert await refused(rig, "StorageDomain.format", storagedomainID=ids["storagedomainID"]) == 392
            await rig.call("StorageDomain.detach", **ids)
            await rig.call("StorageDomain.format", storagedomainID=ids["storagedomainID"])
            assert list((tmp_path / "second").iterdir()) == []

    asyncio.run(scenario())


def test_tasks_are_known_until_they_are_cleared(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            disk = await rig.new_volume()
            delete = {"imageID": disk[0], "storagedomainID": rig.domain, "storagepoolID": rig.pool}
            task = await rig.call("Image.delete", **delete)
            assert await rig.call("Task.getInfo", taskID=task) == {"id": task, "verb": "deleteImage"}
            assert set(await rig.call("Host.getAllTasksStatuses")) == {task}
            assert set(await rig.call("Host.getAllTasksInfo")) == {task}
            status = await rig.task(task)
            assert status == {
                "taskID": task,
                "taskState": "finished",
                "taskResult": "success",
                "code": 0,
                "message": "1 jobs completed successfully",
            }
            for verb in ("Task.getStatus", "Task.getInfo", "Task.clear"):
                assert await refused(rig, verb, taskID=task) == 401

    asyncio.run(scenario())


def test_the_host_says_what_it_is(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_rig(tmp_path) as rig:
            capabilities = await rig.call("Host.getCapabilities")
            assert EXTENSION_FEATURE in capabilities["additionalFeatures"]
            assert capabilities["vmseal"]["sealers"] == ["fake"]
            assert capabilities["vmseal"]["profiles"] == ["sysprep"]
            assert capabilities["kvmEnabled"] in ("true", "false")
            assert capabilities["domain_versions"] == [0, 2, 3, 4, 5]
            assert capabilities["supported_block_size"] == {"LOCALFS": [512, 4096]}
            for name in ("cpuCores", "memSize", "cpuSpeed", "reservedMem", "ISCSIInitiatorName"):
                assert isinstance(capabilities[name], str)
            stats = await rig.call("Host.getStats")
            assert stats["storageDomains"][rig.domain]["valid"] is True
            assert isinstance(stats["memFree"], int)
            assert isinstance(stats["cpuLoad"], str)
            assert await rig.call("Host.echo", message="x") == "x"
            assert await rig.call("Host.ping2") is None
            assert await refused(rig, "Host.setLogLevel", level="LOUD") == -32603

    asyncio.run(scenario())
