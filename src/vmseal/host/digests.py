"""Digests of volumes: computed at the end of a seal, or by a virt job of their own; the volumes are only read."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import vmseal
from vmseal.attestation.digest import Course, Digest, Stopped, Undigested, digest_files
from vmseal.host.files import in_thread
from vmseal.host.in_use import require_not_written
from vmseal.host.jobs import Job, Jobs
from vmseal.host.locks import ImageLocks
from vmseal.host.storage import Storage, lock_name
from vmseal.host.verbs import Handler
from vmseal.host.volume import Volume
from vmseal.model.errors import GeneralError, VerbError
from vmseal.model.job import JobType
from vmseal.rpc import verb
from vmseal.rpc.verb import ImageReference
from vmseal.seal import catalogue

Show = Callable[[float], None]  # gets percent


@dataclass(frozen=True, kw_only=True)
class Digests:
    """What volumes held at one moment; ``catalogue`` names the operations of the seal that they were digested after."""

    images: Sequence[ImageReference]
    digests: Sequence[Digest]
    programs: Mapping[str, str]
    catalogue: str | None
    digested: dt.datetime

    def as_json(self) -> dict[str, object]:
        """Return what ``Vmseal.getDigests`` answers."""
        return {
            "volumes": [
                {**image.wire(), "sha256": digest.sha256, "size": digest.size}
                for image, digest in zip(self.images, self.digests, strict=True)
            ],
            "digested": self.digested.isoformat(),
            "version": vmseal.__version__,
            "programs": dict(self.programs),
            "catalogue": self.catalogue,
        }


@cache
def catalogue_version() -> str:
    """Return the SHA-256 of the catalogues that come with the program, one after the other in the order of names."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in catalogue.own_files())).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Digesting:
    """Digests volumes; ``deadline`` in seconds for all of them, ``programs`` are the host's versions."""

    programs: Mapping[str, str]
    deadline: float

    async def digest(self, images: Sequence[ImageReference], volumes: Sequence[Volume], show: Show) -> Digests:
        """Return the digests of volumes; raises :class:`Undigested`, or VolumeNotWritable when a VM writes to one."""
        for volume in volumes:
            require_not_written(volume.path)
        course = Course(show)
        work = asyncio.ensure_future(in_thread(digest_files, [volume.path for volume in volumes], course))
        try:
            async with asyncio.timeout(self.deadline):
                digests = await asyncio.shield(work)
        except (asyncio.CancelledError, TimeoutError) as error:
            course.stop()
            with contextlib.suppress(Stopped):
                await work
            if isinstance(error, TimeoutError):
                raise Undigested(
                    f"It took longer than {self.deadline:g} seconds (VMSEAL_HOST_DIGEST_DEADLINE)"
                ) from None
            raise
        for volume in volumes:  # a VM that was started meanwhile
            require_not_written(volume.path)
        return Digests(
            images=images,
            digests=digests,
            programs=self.programs,
            catalogue=None,
            digested=dt.datetime.now(dt.UTC),
        )


class DigestJobs:
    """Registers the jobs, and answers what they have found."""

    def __init__(self, *, storage: Storage, locks: ImageLocks, jobs: Jobs, digesting: Digesting) -> None:
        self._storage = storage
        self._locks = locks
        self._jobs = jobs
        self._digesting = digesting

    def handlers(self) -> Mapping[str, Handler]:
        """Return the verbs served here."""
        return {"Vmseal.digestTemplate": self.digest, "Vmseal.getDigests": self.digests}

    async def digests(self, parameters: verb.JobParameters) -> dict[str, object]:
        """Show what volumes hold, after a seal that was asked for it too."""
        job = self._jobs.get(parameters.job_id)
        if job.digests is None:
            why = job.undigested or f"it is a {job.description} and {job.info.status}"
            raise GeneralError(f"Job {job.id} has no digests: {why}")
        return job.digests

    async def digest(self, parameters: verb.DigestTemplate) -> None:
        """Start digesting."""
        if not parameters.images:
            raise GeneralError("Digests need the template's disks")

        async def body(job: Job) -> None:
            try:
                await self._digest(job, parameters)
            except VerbError as error:  # as for a seal: one number, and the other one in the text
                raise GeneralError(f"{error.message} (code={error.code})") from error
            except Undigested as error:
                raise GeneralError(str(error)) from error

        self._jobs.add(Job(id=parameters.job_id, type=JobType.VIRT, description="digest_template", body=body))

    async def _digest(self, job: Job, parameters: verb.DigestTemplate) -> None:
        self._storage.require_pool(parameters.pool)
        shared = {lock_name(image.domain, image.image) for image in parameters.images}
        job.operation = "waiting for the images"
        async with self._locks.hold(shared=shared, exclusive=()):
            volumes = [
                self._storage.domain(image.domain).image(image.image).prepare(image.volume)[0]
                for image in parameters.images
            ]
            for volume in volumes:
                volume.load()  # which finds out whether it is a file
            job.operation = "computing digests"

            def show(percent: float) -> None:
                job.progress = percent

            job.digests = (await self._digesting.digest(parameters.images, volumes, show)).as_json()
