"""Modules of the host's kernel for the appliance: which go along, in which order they are loaded, and their files."""

from __future__ import annotations

import gzip
import lzma
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vmseal import process
from vmseal.sealers.appliance.kernels import Kernel
from vmseal.sealers.appliance.slimming import slim
from vmseal.sealers.sealer import KernelUnreadable, ProgramMissing

# What every seal needs: loaded before the snapshot is made.
ALWAYS = ("virtio_pci", "virtio_scsi", "sd_mod", "virtio_console")
# What nearly every seal needs and costs next to nothing in the snapshot.
EARLY = (
    "ext4", "crc32c_generic", "crc32c_intel", "xfs", "dm_mod", "algif_hash", "sha256_generic",
    "vfat", "nls_ascii", "nls_cp437", "nls_iso8859_1", "nls_utf8",
)  # fmt: skip
# What some guests need: in the archive, loaded by name.
ON_DEMAND = (
    "btrfs",
    "dm_crypt",
    "dm_snapshot",
    "dm_thin_pool",
    "dm_mirror",
    "dm_cache",
    "dm_raid",
    "raid0",
    "raid1",
    "raid10",
    "raid456",
    "linear",
)
# What a module asks the kernel for by name at run time; there is no modprobe inside to answer.
COMPANIONS = {
    "dm_crypt": ("cryptd", "aesni_intel", "ecb", "cbc", "xts", "essiv", "sha256_generic", "algif_skcipher"),
    "btrfs": ("xxhash_generic", "sha256_generic"),
    "algif_hash": ("sha256_generic", "sha512_generic"),
}
MODULE = re.compile(r"\.ko(\.gz|\.xz|\.zst)?$")


@dataclass(frozen=True)
class Modules:
    """What the kernel has: module name -> its files in the order of loading (none: built in), below ``folder``."""

    folder: Path
    order: Mapping[str, tuple[str, ...]]

    def files(self) -> list[str]:
        """Return every file once."""
        return list(dict.fromkeys(file for files in self.order.values() for file in files))


def find_modules(kernel: Kernel, names: Sequence[str] = (*ALWAYS, *EARLY, *ON_DEMAND)) -> Modules:
    """Return those of ``names`` that the kernel has, with what they depend on."""
    needed = dict(_dependencies((kernel.modules / "modules.dep").read_text()))
    built_in = {_name(line) for line in (kernel.modules / "modules.builtin").read_text().split()}
    paths = {_name(path): path for path in needed}

    def files(name: str) -> list[str]:
        first = [file for companion in COMPANIONS.get(name, ()) for file in files(companion)]
        return [*first, *needed[paths[name]], paths[name]] if name in paths else first

    order = {name: tuple(dict.fromkeys(files(name))) for name in names if name in paths or name in built_in}
    return Modules(kernel.modules, order)


def _dependencies(text: str) -> Iterator[tuple[str, list[str]]]:
    """Read modules.dep(5): what a module needs stands in the order of removal."""
    for line in text.splitlines():
        path, _, needs = line.partition(":")
        yield path, needs.split()[::-1]


def _name(path: str) -> str:
    return MODULE.sub("", PurePosixPath(path).name).replace("-", "_")


async def unpack(modules: Modules, folder: Path) -> None:
    """Unpack into ``folder`` what is compressed with zstd, which the standard library cannot read.

    Raises:
        ProgramMissing: zstd is not installed.
        KernelUnreadable: a file cannot be unpacked.

    """
    packed = [str(modules.folder / file) for file in modules.files() if file.endswith(".zst")]
    if not packed:
        return
    try:
        finished = await process.run(["zstd", "-q", "-d", "--output-dir-flat", str(folder), *packed], reason="unpack")
    except FileNotFoundError as error:
        raise ProgramMissing(f"{error} (Debian: zstd); the kernel's modules are compressed with it") from error
    if finished.returncode != 0:
        raise KernelUnreadable(f"modules of {modules.folder} cannot be unpacked: {finished.last_lines(2)}")


def read_module(file: Path, unpacked: Path) -> bytes:
    """Return the module as every kernel takes it: not compressed. ``unpacked`` is the folder of :func:`unpack`."""
    if file.suffix == ".zst":
        return slim((unpacked / file.stem).read_bytes())
    data = file.read_bytes()
    return slim({".gz": gzip.decompress, ".xz": lzma.decompress}.get(file.suffix, bytes)(data))
