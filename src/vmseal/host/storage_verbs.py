"""The verbs of storage pools, domains, images and volumes, and those that start storage and virt jobs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from vmseal.host import creation, deletion
from vmseal.host.domain import VERSION
from vmseal.host.files import in_thread
from vmseal.host.jobs import Jobs
from vmseal.host.locks import ImageLocks
from vmseal.host.qemu_img import QemuImg
from vmseal.host.storage import Storage, lock_name
from vmseal.host.storage_jobs import StorageJobs
from vmseal.host.tasks import Tasks
from vmseal.host.verbs import Handler
from vmseal.host.virt_jobs import VirtJobs
from vmseal.model.errors import (
    DomainCreationError,
    GeneralError,
    InvalidParameter,
    VolumeDoesNotExist,
)
from vmseal.model.volume import BLANK_UUID, VolumeAddress, VolumeType
from vmseal.rpc import verb

LOCALFS = 4  # domainType; the only one served here


class PoolVerbs:
    """``StoragePool.*`` and ``StorageDomain.*``."""

    def __init__(self, storage: Storage, tasks: Tasks, jobs: Jobs) -> None:
        self._storage = storage
        self._tasks = tasks
        self._jobs = jobs

    def handlers(self) -> Mapping[str, Handler]:
        """Return the verbs served here."""
        return {
            "StoragePool.connectStorageServer": self.connect_server,
            "StoragePool.disconnectStorageServer": self.disconnect_server,
            "StoragePool.create": self.create_pool,
            "StoragePool.connect": self.connect_pool,
            "StoragePool.disconnect": self.disconnect_pool,
            "StoragePool.getInfo": self.pool_info,
            "StoragePool.spmStart": self.start_spm,
            "StoragePool.spmStop": self.stop_spm,
            "StoragePool.getSpmStatus": self.spm_status,
            "StorageDomain.create": self.create_domain,
            "StorageDomain.format": self.format_domain,
            "StorageDomain.attach": self.attach,
            "StorageDomain.activate": partial(self.set_state, state="active"),
            "StorageDomain.deactivate": partial(self.set_state, state="attached"),
            "StorageDomain.detach": self.detach,
            "StorageDomain.getInfo": self.domain_info,
            "StorageDomain.getStats": self.domain_stats,
            "StorageDomain.getImages": self.images,
            "StorageDomain.getVolumes": self.volumes,
            "StorageDomain.dump": self.dump,
            "StorageDomain.validate": self.validate,
        }

    async def connect_server(self, parameters: verb.ConnectStorageServer) -> list[dict[str, object]]:
        """Make folders known; a failure is a status other than 0, not an error."""
        _require_localfs(parameters.type)
        if not parameters.connections:
            raise InvalidParameter("Invalid parameter: connectionParams is empty")
        return [
            {"id": each.id, "status": self._storage.connect_server(each.id, each.connection)}
            for each in parameters.connections
        ]

    async def disconnect_server(self, parameters: verb.ConnectStorageServer) -> list[dict[str, object]]:
        """Forget folders."""
        return [
            {"id": each.id, "status": self._storage.disconnect_server(each.connection)}
            for each in parameters.connections
        ]

    async def create_pool(self, parameters: verb.CreatePool) -> None:
        """Write a new pool into its domains."""
        self._storage.create_pool(
            parameters.pool,
            name=parameters.name,
            master=parameters.master_domain,
            master_version=parameters.master_version,
            domains=parameters.domains,
        )

    async def connect_pool(self, parameters: verb.ConnectPool) -> None:
        """Enter the pool."""
        self._storage.connect_pool(
            parameters.pool, parameters.host_id, master=parameters.master_domain, domains=parameters.domains
        )

    async def disconnect_pool(self, parameters: verb.DisconnectPool) -> None:
        """Leave the pool; refused while jobs or tasks may use its domains."""
        is_ours = self._storage.pool is not None and self._storage.pool.id == parameters.pool
        if is_ours and (self._jobs.are_active or self._tasks.are_running):
            raise GeneralError(f"Pool {parameters.pool} has running jobs or tasks: wait for them or abort them first")
        self._storage.disconnect_pool(parameters.pool)

    async def pool_info(self, parameters: verb.PoolParameters) -> dict[str, object]:
        """Describe the pool."""
        return self._storage.pool_info(parameters.pool)

    async def start_spm(self, parameters: verb.PoolParameters) -> str:
        """Take the SPM role; on local files there is nobody to take it from."""
        pool = self._storage.require_pool(parameters.pool)

        async def body() -> None:
            pool.is_spm = True

        return self._tasks.start("spmStart", body)

    async def stop_spm(self, parameters: verb.PoolParameters) -> None:
        """Give the SPM role up."""
        self._storage.require_pool(parameters.pool).is_spm = False

    async def spm_status(self, parameters: verb.PoolParameters) -> dict[str, object]:
        """Say who is SPM."""
        return self._storage.spm_status(parameters.pool)

    async def create_domain(self, parameters: verb.CreateDomain) -> None:
        """Make an empty domain."""
        _require_localfs(parameters.type)
        if parameters.version != VERSION:
            raise DomainCreationError(f"Error creating a storage domain: version {parameters.version} is not {VERSION}")
        self._storage.create_domain(
            parameters.path, parameters.domain, name=parameters.name, domain_class=parameters.domain_class
        )

    async def format_domain(self, parameters: verb.FormatDomain) -> None:
        """Remove a domain and all in it."""
        domain = self._storage.take_for_format(parameters.domain, auto_detach=parameters.auto_detach)
        await in_thread(domain.destroy)

    async def attach(self, parameters: verb.DomainPoolParameters) -> None:
        """Put a domain into the pool."""
        self._storage.attach(parameters.domain, parameters.pool)

    async def set_state(self, parameters: verb.DomainPoolParameters, *, state: str) -> None:
        """Activate or deactivate a domain."""
        self._storage.set_state(parameters.domain, parameters.pool, state)

    async def detach(self, parameters: verb.DomainPoolParameters) -> None:
        """Take a domain out of the pool."""
        self._storage.detach(parameters.domain, parameters.pool)

    async def domain_info(self, parameters: verb.DomainParameters) -> dict[str, object]:
        """Describe a domain."""
        return self._storage.domain(parameters.domain).info()

    async def domain_stats(self, parameters: verb.DomainParameters) -> dict[str, object]:
        """Say how much space a domain has."""
        return self._storage.domain(parameters.domain).stats()

    async def images(self, parameters: verb.DomainParameters) -> list[str]:
        """List the images."""
        return self._storage.domain(parameters.domain).image_ids()

    async def volumes(self, parameters: verb.GetVolumes) -> list[str]:
        """List the volumes, of one image or of all."""
        domain = self._storage.domain(parameters.domain)
        images = [parameters.image] if parameters.image else domain.image_ids()
        return sorted({volume for image in images for volume in domain.image(image).volume_ids()})

    async def dump(self, parameters: verb.DumpDomain) -> dict[str, object]:
        """Show all metadata."""
        return self._storage.domain(parameters.domain).dump()

    async def validate(self, parameters: verb.DomainParameters) -> None:
        """Check that a domain can be used."""
        self._storage.domain(parameters.domain).load()


class ImageVerbs:
    """``Image.*`` and ``Volume.*``. ``links`` is the folder that shows which images are prepared."""

    def __init__(self, *, storage: Storage, qemu: QemuImg, locks: ImageLocks, tasks: Tasks, links: Path) -> None:
        self._storage = storage
        self._qemu = qemu
        self._locks = locks
        self._tasks = tasks
        self._links = links

    def handlers(self) -> Mapping[str, Handler]:
        """Return the verbs served here."""
        return {
            "Volume.create": self.create_volume,
            "Volume.getInfo": self.volume_info,
            "Volume.getSize": self.volume_size,
            "Volume.delete": self.delete_volumes,
            "Image.prepare": self.prepare,
            "Image.teardown": self.teardown,
            "Image.delete": self.delete_image,
            "Image.getVolumes": self.image_volumes,
        }

    async def create_volume(self, parameters: verb.CreateVolume) -> str:
        """Start the making of a volume."""
        self._storage.require_spm(parameters.pool)
        domain = self._storage.domain(parameters.domain)
        new = creation.validate(parameters)
        exclusive, shared = {lock_name(domain.id, new.address.image)}, set[str]()
        if new.parent_image is not None:
            parent = domain.image(new.parent_image).volume(new.values.parent).load()
            # A parent that is not SHARED yet becomes so, or INTERNAL: its metadata changes.
            names = shared if parent.type is VolumeType.SHARED else exclusive
            names.add(lock_name(domain.id, new.parent_image))

        async def body() -> None:
            async with self._locks.hold(shared=shared, exclusive=exclusive):
                await creation.create(domain, self._qemu, new)

        return self._tasks.start("createVolume", body)

    async def delete_volumes(self, parameters: verb.DeleteVolumes) -> str:
        """Start the removal of volumes of one image."""
        self._storage.require_spm(parameters.pool)
        domain = self._storage.domain(parameters.domain)
        addresses = [VolumeAddress(domain.id, parameters.image, volume) for volume in parameters.volumes]
        for address in addresses:
            domain.volume(address).load()

        async def body() -> None:
            async with self._locks.hold(exclusive=[lock_name(domain.id, parameters.image)]):
                for address in addresses:
                    await in_thread(deletion.delete_volume, domain, address)

        return self._tasks.start("deleteVolume", body)

    async def delete_image(self, parameters: verb.DeleteImage) -> str:
        """Start the removal of an image; refused at once when it is unknown, or a template in use."""
        self._storage.require_spm(parameters.pool)
        domain = self._storage.domain(parameters.domain)
        deletion.require_deletable(domain, parameters.image)

        async def body() -> None:
            async with self._locks.hold(exclusive=[lock_name(domain.id, parameters.image)]):
                hidden = deletion.hide_image(domain, parameters.image)
            await in_thread(deletion.remove_hidden, hidden)

        return self._tasks.start("deleteImage", body)

    async def volume_info(self, parameters: verb.VolumeParameters) -> dict[str, object]:
        """Describe a volume; 201 when there is none, with or without its image."""
        domain = self._storage.domain(parameters.domain)
        volume = domain.image(parameters.image).volume(parameters.volume)
        if not volume.path.is_file():
            raise VolumeDoesNotExist(f"Volume does not exist: {parameters.volume} in image {parameters.image}")
        return volume.info(domain.children(parameters.address))

    async def volume_size(self, parameters: verb.VolumeParameters) -> dict[str, str]:
        """Say how large a volume's file is."""
        return self._storage.domain(parameters.domain).volume(parameters.address).size()

    async def image_volumes(self, parameters: verb.ImageParameters) -> list[str]:
        """List the volumes of an image, a linked template's included."""
        return self._storage.domain(parameters.domain).image(parameters.image).volume_ids()

    async def prepare(self, parameters: verb.PrepareImage) -> dict[str, object]:
        """Check that an image may be used and say where its leaf is."""
        if parameters.pool != BLANK_UUID:
            self._storage.require_pool(parameters.pool)
        image = self._storage.domain(parameters.domain).image(parameters.image)
        leaf = image.prepare(parameters.volume, allow_illegal=parameters.allow_illegal)[0]
        link = self._links / parameters.domain / parameters.image
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(image.folder)
        return {"path": str(link / leaf.id if parameters.pool == BLANK_UUID else leaf.path)}

    async def teardown(self, parameters: verb.TeardownImage) -> None:
        """Take the link away; it is not counted, and may be absent."""
        (self._links / parameters.domain / parameters.image).unlink(missing_ok=True)


class JobVerbs:
    """The verbs whose work is a host job."""

    def __init__(self, storage_jobs: StorageJobs, virt_jobs: VirtJobs) -> None:
        self._storage_jobs = storage_jobs
        self._virt_jobs = virt_jobs

    def handlers(self) -> Mapping[str, Handler]:
        """Return the verbs served here."""
        return {
            "SDM.copy_data": self.copy_data,
            "SDM.update_volume": self.update_volume,
            "VM.seal": self.seal,
        }

    async def copy_data(self, parameters: verb.CopyData) -> None:
        """Start a copy."""
        if "endpoint_type" not in parameters.destination.model_fields_set:  # VDSM insists, and so do its tests
            raise GeneralError("SDM.copy_data: destination has no endpoint_type")
        self._storage_jobs.copy_data(parameters)

    async def update_volume(self, parameters: verb.UpdateVolume) -> None:
        """Start a change of marks."""
        self._storage_jobs.update_volume(parameters)

    async def seal(self, parameters: verb.Seal) -> None:
        """Start a seal."""
        self._virt_jobs.seal(parameters)


def _require_localfs(domain_type: int) -> None:
    if domain_type != LOCALFS:
        raise GeneralError(f"Storage of type {domain_type} is not served here; only {LOCALFS} (LOCALFS) is")
