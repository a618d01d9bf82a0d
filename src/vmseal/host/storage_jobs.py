"""Storage jobs: ``SDM.copy_data`` and ``SDM.update_volume``."""

from __future__ import annotations

from vmseal.host.copying import CopySource, copy
from vmseal.host.domain import Domain
from vmseal.host.image import Image
from vmseal.host.imports import Imports
from vmseal.host.jobs import Body, Job, Jobs
from vmseal.host.locks import ImageLocks
from vmseal.host.qemu_img import QemuImg
from vmseal.host.storage import Storage, lock_name, lock_names_of_templates
from vmseal.host.volume import Volume
from vmseal.model.errors import GeneralError, InvalidParameter
from vmseal.model.job import JobType
from vmseal.model.volume import Legality, VolumeAddress, VolumeType, VolumeUpdate
from vmseal.rpc.verb import CopyData, DivEndpoint, UpdateVolume, VolumeAttributes


class StorageJobs:
    """Registers the jobs; ``deadline`` in seconds is what a copy may take, waiting for locks included."""

    def __init__(
        self,
        *,
        storage: Storage,
        qemu: QemuImg,
        imports: Imports,
        locks: ImageLocks,
        jobs: Jobs,
        deadline: float,
    ) -> None:
        self._storage = storage
        self._qemu = qemu
        self._imports = imports
        self._locks = locks
        self._jobs = jobs
        self._deadline = deadline

    def update_volume(self, parameters: UpdateVolume) -> None:
        """Register the change of a volume's marks."""
        self._storage.require_any_pool()
        update = _update(parameters.attributes)

        async def body(job: Job) -> None:
            address = parameters.volume.address
            domain = self._storage.domain(address.domain)
            job.operation = "waiting for the image"
            async with self._locks.hold(
                exclusive=[lock_name(domain.id, address.image)],
                shared=lock_names_of_templates(domain, _existing(domain, address)),
            ):
                job.operation = "changing the metadata"
                domain.volume(address).update(parameters.volume.generation, update)

        self._add("update_volume", parameters.job_id, body=body)

    def copy_data(self, parameters: CopyData) -> None:
        """Register a copy."""
        self._storage.require_any_pool()
        source, destination = parameters.source, parameters.destination
        if parameters.copy_bitmaps:
            raise GeneralError("Bitmaps cannot be copied")
        if isinstance(source, DivEndpoint) and source.image == destination.image:
            raise InvalidParameter(f"Source and destination are of one image: {source.image}")

        async def body(job: Job) -> None:
            await self._copy(job, parameters)

        self._add("copy_data", parameters.job_id, body=body, deadline=self._deadline)

    def _add(self, description: str, job_id: str, *, body: Body, deadline: float | None = None) -> None:
        self._jobs.add(Job(id=job_id, type=JobType.STORAGE, description=description, body=body, deadline=deadline))

    async def _copy(self, job: Job, parameters: CopyData) -> None:
        source, destination = parameters.source, parameters.destination
        domain = self._storage.domain(destination.domain)
        target = _existing(domain, destination.address)
        shared = lock_names_of_templates(domain, target)
        if isinstance(source, DivEndpoint):
            source_domain = self._storage.domain(source.domain)
            shared |= {lock_name(source.domain, source.image)}
            shared |= lock_names_of_templates(source_domain, _existing(source_domain, source.address))
        job.operation = "waiting for the images"
        async with self._locks.hold(shared=shared, exclusive=[lock_name(domain.id, target.id)]):
            job.operation = "checking the source"
            found = await self._source(parameters)
            volume = target.volume(destination.volume)
            with volume.operation(destination.generation) as values:
                job.operation = "copying"

                def show(percent: float) -> None:
                    job.progress = percent

                await copy(self._qemu, found, volume=volume, values=values, progress=show)

    async def _source(self, parameters: CopyData) -> CopySource:
        source = parameters.source
        if not isinstance(source, DivEndpoint):
            file = await self._imports.inspect_url(source.url, source.format)
            return CopySource(file.chain, format=file.format, capacity=file.virtual_size)
        image = self._storage.domain(source.domain).image(source.image)
        chain = image.prepare(source.volume)
        values = chain[0].load()
        files = tuple(volume.path for volume in chain)
        return CopySource(files, format=values.format, capacity=values.capacity)


def _existing(domain: Domain, address: VolumeAddress) -> Image:
    """Return the image of a volume that exists."""
    volume: Volume = domain.volume(address)
    image = domain.image(address.image)
    if not volume.is_there:
        volume.load()  # raises, saying which file is missing
    return image


def _update(attributes: VolumeAttributes) -> VolumeUpdate:
    if all(value is None for value in attributes.model_dump().values()):
        raise GeneralError("Nothing to change: give legality, type, description or generation in vol_attr")
    return VolumeUpdate(
        legality=Legality(attributes.legality) if attributes.legality else None,
        type=VolumeType(attributes.type) if attributes.type else None,
        description=attributes.description,
        generation=attributes.generation,
    )
