"""Virt jobs: ``VM.seal``, which seals all disks of a template together."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import structlog

from vmseal.attestation.digest import Undigested
from vmseal.host.audits import Auditing
from vmseal.host.digests import Digesting, catalogue_version
from vmseal.host.files import in_thread, sync_file
from vmseal.host.image import Image
from vmseal.host.in_use import require_unused
from vmseal.host.jobs import Job, Jobs
from vmseal.host.locks import ImageLocks
from vmseal.host.storage import Storage, lock_name, lock_names_of_templates
from vmseal.host.volume import Volume
from vmseal.model.errors import GeneralError, VerbError
from vmseal.model.job import JobType
from vmseal.rpc.verb import AuditMode, ImageReference, Seal, SealOptions
from vmseal.seal.report import SealReport
from vmseal.sealers import choice
from vmseal.sealers.sealer import Disk, Sealer, SealError, SealProgress, SealRequest

logger = structlog.get_logger(__name__)
GRACE = 60.0  # seconds that a sealer has to stop by itself after its deadline


@dataclass(frozen=True, kw_only=True)
class Seals:
    """The sealers, and what a seal is unless the caller says otherwise; ``deadline`` in seconds."""

    sealers: Mapping[str, Sealer]
    default: str
    profile: str | None = None
    erase: bool | None = None
    deadline: float

    def sealer(self, options: SealOptions) -> Sealer:
        """Return the sealer that a request wants."""
        name = self.default if options.sealer is None else options.sealer
        if name not in self.sealers:
            raise GeneralError(f"Sealer {name!r} is unknown here; this host has {', '.join(self.sealers)}")
        return self.sealers[name]

    def request(self, name: str, options: SealOptions) -> SealRequest:
        """Return what to seal, without disks."""
        # Only what was announced: a word of the wire never becomes a path.
        known = choice.profiles(self.sealers)
        if options.profile is not None and options.profile not in known:
            raise GeneralError(f"Profile {options.profile!r} is unknown here; this host has {', '.join(known)}")
        deadline = self.deadline if options.deadline is None else options.deadline
        if not 0 < deadline < math.inf:
            raise GeneralError(f"A seal cannot have a deadline of {deadline} seconds")
        return SealRequest(
            name=name,
            disks=(),
            deadline=deadline,
            profile=self.profile if options.profile is None else options.profile,
            erase=self.erase if options.erase is None else options.erase,
        )


class VirtJobs:
    """Registers the jobs."""

    def __init__(
        self,
        *,
        storage: Storage,
        locks: ImageLocks,
        jobs: Jobs,
        seals: Seals,
        auditing: Auditing,
        digesting: Digesting,
    ) -> None:
        self._storage = storage
        self._locks = locks
        self._jobs = jobs
        self._seals = seals
        self._auditing = auditing
        self._digesting = digesting

    def seal(self, parameters: Seal) -> None:
        """Register the seal of all the images together."""
        options = parameters.options or SealOptions()
        sealer = self._seals.sealer(options)
        request = self._seals.request(parameters.vm_id, options)
        addresses = [image.address for image in parameters.images]
        if len({(address.domain, address.image) for address in addresses}) != len(addresses):
            raise GeneralError("An image is named twice")

        async def body(job: Job) -> None:
            try:
                await self._seal(job, parameters, sealer=sealer, request=request)
            except VerbError as error:  # VDSM's clients know only 100 for a seal; the number is in the text
                raise GeneralError(f"{error.message} (code={error.code})") from error
            except SealError as error:
                raise GeneralError(f"[{error.reason}] {error}") from error

        beside = max(self._auditing.deadline, self._digesting.deadline if options.digests else 0.0)
        limit = request.deadline + GRACE + beside
        self._jobs.add(Job(id=parameters.job_id, type=JobType.VIRT, description="seal_vm", body=body, deadline=limit))

    async def _seal(self, job: Job, parameters: Seal, *, sealer: Sealer, request: SealRequest) -> None:
        self._storage.require_pool(parameters.pool)
        if not parameters.images:
            return
        images = [self._image(reference) for reference in parameters.images]
        exclusive = {lock_name(reference.domain, reference.image) for reference in parameters.images}
        shared = set[str]()
        for reference, image in zip(parameters.images, images, strict=True):
            shared |= lock_names_of_templates(self._storage.domain(reference.domain), image)
        job.operation = "waiting for the images"
        async with self._locks.hold(shared=shared, exclusive=exclusive):
            job.operation = "checking the disks"
            volumes = [
                _leaf(image, reference.volume) for image, reference in zip(images, parameters.images, strict=True)
            ]
            disks = tuple(Disk(volume.path, volume.load().format) for volume in volumes)
            # All go ILLEGAL before the first is touched, and none comes back unless all were sealed.
            with ExitStack() as sealing:
                for volume in volumes:
                    sealing.enter_context(volume.sealing())
                report = await run_sealer(job, sealer, replace(request, disks=disks))
                for volume in volumes:  # what was sealed must not come back after a power failure
                    await in_thread(sync_file, volume.path)
                await self._look(job, parameters, report, disks=disks, volumes=volumes)

    async def _look(
        self, job: Job, parameters: Seal, report: SealReport, *, disks: tuple[Disk, ...], volumes: Sequence[Volume]
    ) -> None:
        """Audit what was sealed, and digest it beside; what the audit does not let pass needs no digests."""
        digesting = asyncio.create_task(self._digest(job, parameters, volumes))
        try:
            await self._audit(job, parameters, report, disks)
            await digesting
        except BaseException:
            digesting.cancel()
            await asyncio.wait({digesting})
            raise

    async def _digest(self, job: Job, parameters: Seal, volumes: Sequence[Volume]) -> None:
        """Digest what was sealed. The seal is good without it: a failure is only told to who asks for the digests."""
        if parameters.options is None or not parameters.options.digests:
            return

        def show(percent: float) -> None:
            job.operation = f"computing digests: {percent:.0f} %"

        try:
            digests = await self._digesting.digest(parameters.images, volumes, show)
            job.digests = replace(digests, catalogue=catalogue_version()).as_json()
        except (Undigested, VerbError, OSError) as error:
            job.undigested = str(error)
            logger.warning("sealed, but not digested", error=str(error))

    async def _audit(self, job: Job, parameters: Seal, report: SealReport, disks: tuple[Disk, ...]) -> None:
        wanted = parameters.options and parameters.options.audit
        mode = AuditMode(wanted) if wanted else self._auditing.mode
        await self._auditing.after_seal(job, report, disks, mode=mode)

    def _image(self, reference: ImageReference) -> Image:
        return self._storage.domain(reference.domain).image(reference.image)


async def run_sealer(job: Job, sealer: Sealer, request: SealRequest) -> SealReport:
    """Have a sealer do its work, keep progress and report with the job, and return the report."""

    def show(progress: SealProgress) -> None:
        job.progress, job.operation = progress.percent, progress.operation
        if progress.log is not None:
            job.log = str(progress.log)

    job.operation = "sealing"
    report = await sealer.seal(request, show)
    job.report = report.as_json()
    return report


def _leaf(image: Image, volume_id: str) -> Volume:
    """Return the volume when it may be sealed: its chain is whole, nothing is built on it, and nobody uses it."""
    volume = image.prepare(volume_id, allow_illegal=True)[0]
    volume.load().require_writable()
    if image.children(volume_id):
        raise GeneralError(f"Volume {volume_id} of image {image.id} is not the leaf: other volumes are built on it")
    require_unused(volume.path)
    return volume
