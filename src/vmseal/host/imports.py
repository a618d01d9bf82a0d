"""Image files outside the storage domains, as sources of a copy: which may be read, and whether they are whole.

Such a file may come from anybody: its header names other files (backing files, data files), and qemu-img would read
them. So each name is checked against the allowed folders before any program opens it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from vmseal.host.import_folders import ImportFolders
from vmseal.host.qemu_img import ImageDamaged, QemuImg
from vmseal.model.errors import GeneralError, InvalidParameter
from vmseal.model.volume import VolumeFormat

QCOW2_MAGIC = b"QFI\xfb"
QCOW2_HEADER = 104  # bytes, of version 3; version 2 has 72
EXTERNAL_DATA_FILE = 1 << 2  # incompatible feature: the data is in another file
MAX_CHAIN = 32  # files; longer ones are a mistake or an attack
SECTOR = 512
OTHER_FORMATS = {
    b"KDMV": "VMDK",
    b"# Disk DescriptorFile": "VMDK",
    b"<<< ": "VDI",
    b"vhdxfile": "VHDX",
    b"conectix": "VHD",
    b"LUKS\xba\xbe": "LUKS (encrypted)",
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
FORMATS = {"cow": VolumeFormat.COW, "raw": VolumeFormat.RAW}


@dataclass(frozen=True, kw_only=True)
class ImageFile:
    """An image file that may be copied. Sizes in bytes; ``chain`` starts with the file itself."""

    path: Path
    format: VolumeFormat
    virtual_size: int
    actual_size: int
    chain: tuple[Path, ...]

    def as_json(self) -> dict[str, object]:
        """Return what ``Vmseal.inspectImage`` answers."""
        return {
            "path": str(self.path),
            "format": "cow" if self.format is VolumeFormat.COW else "raw",
            "virtual_size": self.virtual_size,
            "actual_size": self.actual_size,
            "chain": [str(path) for path in self.chain],
        }


class Imports:
    """Looks at image files below ``folders``; with none nothing may be read."""

    def __init__(self, qemu: QemuImg, folders: ImportFolders) -> None:
        self._qemu = qemu
        self._folders = folders

    async def inspect_url(self, url: str, wire_format: str) -> ImageFile:
        """Return the file that ``file:///path`` names, checked; ``wire_format`` is ``cow`` or ``raw``."""
        parts = urlsplit(url)
        if parts.scheme != "file" or parts.netloc not in ("", "localhost") or not parts.path:
            raise InvalidParameter(f"Only file:///path can be copied from, not {url!r}")
        return await self.inspect(unquote(parts.path), wire_format)

    async def inspect(self, path: str, wire_format: str | None) -> ImageFile:
        """Return what the file is; raises an error that says why it cannot be copied."""
        file = self._allowed(path, "Image")
        volume_format = _checked_format(file, FORMATS[wire_format] if wire_format else None)
        chain = await self._chain(file, volume_format)
        for each, each_format in chain:
            if each_format is VolumeFormat.COW:
                await self._qemu.check(each)
            else:
                _check_raw(each)
        info = await self._qemu.info(file, volume_format)
        return ImageFile(
            path=file,
            format=volume_format,
            virtual_size=info.virtual_size,
            actual_size=info.actual_size,
            chain=tuple(each for each, _ in chain),
        )

    def _allowed(self, name: str, what: str) -> Path:
        path = self._folders.allowed(name, what)
        if not path.is_file():
            raise GeneralError(f"{what} {path} is not a regular file")
        return path

    async def _chain(self, file: Path, volume_format: VolumeFormat) -> list[tuple[Path, VolumeFormat]]:
        """Return the file and its backing files; every name is checked before anything opens it."""
        chain = [(file, volume_format)]
        while True:
            path, path_format = chain[-1]
            info = await self._qemu.info(path, path_format)
            if info.is_encrypted:
                raise GeneralError(f"Image {path} is encrypted and cannot be read: decrypt it with qemu-img convert")
            if info.backing is None:
                return chain
            if len(chain) == MAX_CHAIN:
                raise GeneralError(f"Image {file} has more than {MAX_CHAIN} backing files, or they form a circle")
            if info.backing_format not in ("raw", "qcow2"):
                raise GeneralError(
                    f"Image {path} has a backing file of format {info.backing_format or 'unstated'}: state raw or "
                    f"qcow2 with qemu-img rebase -u -F FORMAT -b {info.backing} {path}"
                )
            backing = self._allowed(info.backing, f"Backing file of {path}:")
            backing_format = VolumeFormat.RAW if info.backing_format == "raw" else VolumeFormat.COW
            chain.append((backing, _checked_format(backing, backing_format)))


def _checked_format(path: Path, stated: VolumeFormat | None) -> VolumeFormat:
    """Return the format that the content shows; raise when it is not the one stated, or cannot be copied."""
    try:
        with path.open("rb") as file:
            head = file.read(SECTOR)
    except OSError as error:
        raise GeneralError(f"Image {path} cannot be read: {error.strerror}") from error
    if not head:
        raise ImageDamaged(f"Image {path} is empty")
    for magic, name in OTHER_FORMATS.items():
        if head.startswith(magic):
            raise GeneralError(f"Image {path} is {name}: make it qcow2 or raw first (qemu-img convert -O qcow2)")
    found = VolumeFormat.COW if head.startswith(QCOW2_MAGIC) else VolumeFormat.RAW
    if stated not in (None, found):
        raise GeneralError(f"Image {path} is {found.driver}, not {stated.driver} as stated")
    if found is VolumeFormat.COW:
        _check_header(path, head)
    return found


def _check_header(path: Path, head: bytes) -> None:
    if len(head) < QCOW2_HEADER:
        raise ImageDamaged(f"Image {path} is truncated: it has no whole qcow2 header")
    (version,) = struct.unpack_from(">I", head, 4)
    (incompatible,) = struct.unpack_from(">Q", head, 72)
    if version >= 3 and incompatible & EXTERNAL_DATA_FILE:
        raise GeneralError(f"Image {path} keeps its data in another file: make it whole with qemu-img convert -O qcow2")


def _check_raw(path: Path) -> None:
    """Raise when a raw image is shorter than its own partition table says."""
    size = path.stat().st_size
    if size % SECTOR:
        raise ImageDamaged(f"Image {path} is truncated: {size} bytes are no whole number of {SECTOR}-byte sectors")
    with path.open("rb") as file:
        first, second = file.read(SECTOR), file.read(SECTOR)
    end = _partitions_end(first, second)
    if end > size:
        raise ImageDamaged(f"Image {path} is truncated: it has {size} bytes, its partition table needs {end}")


def _partitions_end(first: bytes, second: bytes) -> int:
    """Return how many bytes the disk must have by its GPT or MBR; 0 when it has neither."""
    if second.startswith(b"EFI PART"):
        (backup,) = struct.unpack_from("<Q", second, 32)  # the sector of the second GPT header, the disk's last
        return int(backup + 1) * SECTOR
    is_boot_sector_of_fs = first[3:11] == b"NTFS    " or first[54:57] == b"FAT" or first[82:85] == b"FAT"
    if first[510:512] != b"\x55\xaa" or is_boot_sector_of_fs:
        return 0
    ends = [0]
    for offset in range(446, 510, 16):
        status, kind = first[offset], first[offset + 4]
        start, count = struct.unpack_from("<II", first, offset + 8)
        if status not in (0, 0x80):  # not a partition table but boot code
            return 0
        if kind and kind != 0xEE:
            ends.append(start + count)
    return max(ends) * SECTOR
