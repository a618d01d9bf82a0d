"""The metadata files of volumes and of the domain: lines of ``KEY=VALUE``, as VDSM writes them.

Pure text in and out, except for :func:`load` and :func:`store`. Source of keys and limits: VDSM's domain version 5.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from vmseal.host.files import is_uuid, replace_file
from vmseal.model.errors import (
    InvalidMetadata,
    MetadataChecksumError,
    MetadataOverflow,
    MetadataReadError,
    MetadataWriteError,
)
from vmseal.model.volume import (
    MAX_DESCRIPTION,
    MAX_GENERATION,
    Allocation,
    Legality,
    VolumeFormat,
    VolumeMetadata,
    VolumeType,
)

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

MAX_BYTES = 512  # a volume's metadata is one sector on block storage, and the same here
MAX_SEQUENCE = 2**32 - 1
SECTOR = 512  # bytes; SIZE of domain version 4 and older counts in it
DISK_TYPES = frozenset(["DATA", "OVFS", "MEMD", "MEMM", "ISOF", "HEVD", "HESD", "HEMD", "HECI", "SCRD", "2", "1"])
CHECKSUM = "_SHA_CKSUM"
CLEARED = "NONE"  # key of a metadata slot that a delete has cleared
END = "EOF"


def clean_description(text: str) -> str:
    """Return ``text`` without what would break its line: control characters and line ends become blanks.

    Cut to 210 characters, as VDSM does, and trimmed, because readers trim.
    """
    clean = "".join(" " if unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") else letter for letter in text)
    return clean.strip()[:MAX_DESCRIPTION].strip()


def format_volume(metadata: VolumeMetadata) -> bytes:
    """Return the file's bytes; raises :class:`MetadataOverflow` beyond 512 of them."""
    if metadata.description != clean_description(metadata.description):
        raise InvalidMetadata("DESCRIPTION has line ends or control characters, blanks around it, or is too long")
    values = {
        "CAP": metadata.capacity,
        "CTIME": metadata.ctime,
        "DESCRIPTION": metadata.description,
        "DISKTYPE": metadata.disk_type,
        "DOMAIN": metadata.domain,
        "FORMAT": metadata.format,
        "GEN": metadata.generation,
        "IMAGE": metadata.image,
        "LEGALITY": metadata.legality,
        "PUUID": metadata.parent,
        "SEQ": metadata.sequence,
        "TYPE": metadata.allocation,
        "VOLTYPE": metadata.type,
    }
    data = "".join(f"{key}={value}\n" for key, value in values.items()).encode() + f"{END}\n".encode()
    if len(data) > MAX_BYTES:
        raise MetadataOverflow(f"Volume metadata takes {len(data)} bytes, {MAX_BYTES} are allowed: shorten DESCRIPTION")
    return data


def parse_volume(data: bytes) -> VolumeMetadata:
    """Read a volume's metadata; raises :class:`InvalidMetadata` naming the key that is missing or wrong."""
    values = _Values(_lines(data))
    return VolumeMetadata(
        domain=values.uuid("DOMAIN"),
        image=values.uuid("IMAGE"),
        capacity=values.capacity(),
        format=values.one_of("FORMAT", VolumeFormat),
        allocation=values.one_of("TYPE", Allocation),
        ctime=values.number("CTIME", 0, 2**63),
        parent=values.uuid("PUUID"),
        description=clean_description(values.text("DESCRIPTION")),
        disk_type=values.disk_type(),
        type=values.one_of("VOLTYPE", VolumeType),
        legality=values.one_of("LEGALITY", Legality),
        generation=values.number("GEN", 0, MAX_GENERATION, default=0),
        sequence=values.number("SEQ", 0, MAX_SEQUENCE, default=0),
    )


class _Values:
    """The values of a metadata file, each checked as it is taken."""

    def __init__(self, values: Mapping[str, str]) -> None:
        if CLEARED in values:
            raise InvalidMetadata(f"Key {CLEARED}: the metadata was cleared when the volume was deleted")
        self._values = values

    def text(self, key: str) -> str:
        try:
            return self._values[key]
        except KeyError:
            raise InvalidMetadata(f"Key {key} is missing") from None

    def uuid(self, key: str) -> str:
        return self._checked(key, self.text(key), _uuid)

    def one_of(self, key: str, words: type[E]) -> E:
        return self._checked(key, self.text(key), words)

    def number(self, key: str, least: int, most: int, default: int | None = None) -> int:
        if default is not None and key not in self._values:
            return default
        return self._checked(key, self.text(key), lambda text: _number(text, least, most))

    def capacity(self) -> int:
        if "CAP" not in self._values and "SIZE" in self._values:
            return self.number("SIZE", 1, 2**54) * SECTOR
        return self.number("CAP", 1, 2**63)

    def disk_type(self) -> str:
        value = self.text("DISKTYPE")
        if value not in DISK_TYPES:
            raise InvalidMetadata(f"Key DISKTYPE has the wrong value {value!r}")
        return value

    @staticmethod
    def _checked(key: str, text: str, read: Callable[[str], T]) -> T:
        try:
            return read(text)
        except ValueError:
            raise InvalidMetadata(f"Key {key} has the wrong value {text!r}") from None


def _uuid(text: str) -> str:
    if not is_uuid(text):
        raise ValueError(text)
    return text


def _number(text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and least <= int(text) <= most):
        raise ValueError(text)
    return int(text)


def _lines(data: bytes) -> dict[str, str]:
    """Return keys and values up to ``EOF``; lines without ``=`` are skipped, as VDSM does."""
    try:
        text = data.rstrip(b"\0").decode()
    except UnicodeDecodeError as error:
        raise InvalidMetadata(f"Not UTF-8 text: {error}") from None
    values: dict[str, str] = {}
    for line in text.split("\n"):
        if line.strip() == END:
            break
        key, equals, value = line.partition("=")
        if not equals:
            continue
        if key.strip() in values:
            raise InvalidMetadata(f"Key {key.strip()} is there twice")
        values[key.strip()] = value.strip()
    return values


def load(path: Path) -> VolumeMetadata:
    """Read the metadata file of a volume; a missing file is the caller's ``FileNotFoundError``."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise MetadataReadError(f"Volume metadata {path} cannot be read: {error.strerror}") from error
    try:
        return parse_volume(data)
    except InvalidMetadata as error:
        raise InvalidMetadata(f"Volume metadata {path}: {error}") from error


def store(path: Path, metadata: VolumeMetadata) -> None:
    """Write the metadata file of a volume, durable when this returns; after a crash the old or the new is there."""
    data = format_volume(metadata)
    try:
        replace_file(path, data)
    except OSError as error:
        raise MetadataWriteError(f"Volume metadata {path} cannot be written: {error.strerror}") from error


def format_domain(values: Mapping[str, str]) -> bytes:
    """Return the bytes of ``dom_md/metadata``: sorted lines and their checksum."""
    lines = sorted(f"{key}={value}" for key, value in values.items() if key != CHECKSUM)
    for line in lines:
        if line.splitlines() != [line]:
            raise InvalidMetadata(f"Domain metadata line {line!r} holds a line end")
    lines.append(f"{CHECKSUM}={_checksum(lines)}")
    return "".join(f"{line}\n" for line in sorted(lines)).encode()


def parse_domain(data: bytes) -> dict[str, str]:
    """Read ``dom_md/metadata``; a wrong checksum is an error, a missing one is trusted (VDSM's rule)."""
    values = _lines(data)
    expected = values.pop(CHECKSUM, None)
    actual = _checksum(sorted(f"{key}={value}" for key, value in values.items()))
    if expected is not None and expected != actual:
        raise MetadataChecksumError(f"Domain metadata is damaged: checksum {actual}, the file says {expected}")
    return values


def _checksum(lines: list[str]) -> str:
    text = "".join(lines).encode("ascii", "xmlcharrefreplace")
    return hashlib.sha1(text, usedforsecurity=False).hexdigest()
