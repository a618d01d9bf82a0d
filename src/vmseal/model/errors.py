"""Errors that have a number on the wire; the numbers are VDSM's, so that clients of VDSM understand them.

An error says what happened, with which values, and what to do. The host raises these, ``rpc`` carries code and text,
and the engine gets them back as :class:`VerbError` with the same code.
"""

from __future__ import annotations


class VmsealError(Exception):
    """An error whose text is written for the person who runs vmseal."""


class VerbError(VmsealError):
    """A verb or a host job failed; ``code`` is what goes over the wire."""

    code: int = 100  # VDSM's "general exception"

    def __init__(self, message: str, *, code: int | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code

    @property
    def message(self) -> str:
        """The text that goes over the wire."""
        return str(self)


class InternalError(VerbError):
    """JSON-RPC's own code for a missing parameter or an unexpected exception."""

    code = -32603


class MethodNotFound(VerbError):
    """No verb of that name."""

    code = -32601


class InvalidRequest(VerbError):
    """Not a JSON-RPC request."""

    code = -32600


class ParseError(VerbError):
    """Not JSON."""

    code = -32700


class NoSuchJob(VerbError):
    """No job of that id is known to this host."""

    code = 66


class JobNotActive(VerbError):
    """The job has ended already."""

    code = 84


class Recovering(VerbError):
    """The host agent has started and is not ready yet."""

    code = 99


class GeneralError(VerbError):
    """Anything that VDSM has no number for: duplicate job ids, bad UUIDs, failed programs, failed seals."""


class VolumeDoesNotExist(VerbError):
    """The volume's file or its metadata is missing."""

    code = 201


class IncorrectFormat(VerbError):
    """Volume format is neither COW nor RAW, or RAW with a parent."""

    code = 202


class VolumeHasChildren(VerbError):
    """A volume that others are built on is not deleted."""

    code = 204


class VolumeCreationError(VerbError):
    """A program that makes volumes failed."""

    code = 205


class MetadataReadError(VerbError):
    """Volume metadata cannot be read."""

    code = 207


class MetadataWriteError(VerbError):
    """Volume metadata cannot be written."""

    code = 208


class VolumeAlreadyExists(VerbError):
    """A volume of that id is there already."""

    code = 212


class VolumeNotWritable(VerbError):
    """Volume is in use by another process, or read-only."""

    code = 213


class VolumeNotShareable(VerbError):
    """A thin clone was asked of a volume that has a parent."""

    code = 214


class SharedVolumeNonWritable(VerbError):
    """A SHARED volume is never written."""

    code = 219


class CannotDeleteSharedVolume(VerbError):
    """The image is a template's and other images are built on it."""

    code = 223


class IllegalParent(VerbError):
    """A volume cannot be built on an ILLEGAL one."""

    code = 226


class PrepareIllegalVolume(VerbError):
    """An ILLEGAL volume's data may not be used."""

    code = 227


class IncorrectAllocation(VerbError):
    """Allocation is neither PREALLOCATED nor SPARSE."""

    code = 231


class InvalidVolumeUpdate(VerbError):
    """The update breaks a rule of the volume's role or legality."""

    code = 235


class ImagePathError(VerbError):
    """The image's folder is missing."""

    code = 254


class ImageDoesNotExist(VerbError):
    """The storage domain holds no such image."""

    code = 268


class MasterNotFound(VerbError):
    """The pool's master domain is not on any connected storage."""

    code = 304


class UnknownPool(VerbError):
    """The host does not know the storage pool."""

    code = 309


class NoPoolConnected(VerbError):
    """The host is connected to no storage pool."""

    code = 313


class OtherPoolConnected(VerbError):
    """The host is connected to another storage pool."""

    code = 323


class DomainCreationError(VerbError):
    """The storage domain cannot be made there."""

    code = 351


class UnknownDomain(VerbError):
    """No storage domain of that id."""

    code = 358


class DomainAlreadyExists(VerbError):
    """The storage domain exists already."""

    code = 365


class DomainInaccessible(VerbError):
    """The storage domain's folder cannot be reached, or another process owns it."""

    code = 379


class FormatAttachedDomain(VerbError):
    """A domain that is attached to a pool is not formatted."""

    code = 391


class FormatDomainInPool(VerbError):
    """A domain of the connected pool is not formatted."""

    code = 392


class UnknownTask(VerbError):
    """No task of that id."""

    code = 401


class NotSpm(VerbError):
    """The host is not the pool's SPM."""

    code = 654


class IsSpm(VerbError):
    """The host is the pool's SPM."""

    code = 656


class InvalidMetadata(VerbError):
    """Volume metadata lacks a key or has a wrong value."""

    code = 751


class MetadataChecksumError(VerbError):
    """Domain metadata is damaged: its checksum is wrong."""

    code = 752


class MetadataOverflow(VerbError):
    """Volume metadata is over 512 bytes."""

    code = 756


class ResourceAcquisitionFailed(VerbError):
    """An image lock cannot be built."""

    code = 855


class GenerationMismatch(VerbError):
    """The volume has moved on since the caller looked."""

    code = 911


class InvalidParameter(VerbError):
    """A parameter's value makes no sense."""

    code = 1000


class ResourceExhausted(VerbError):
    """Too many requests wait already."""

    code = 1100
