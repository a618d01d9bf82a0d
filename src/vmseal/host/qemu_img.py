"""``qemu-img``, typed: the only place of the host that starts it.

Formats are always given, never probed: a guest can write into its raw disk whatever makes a prober believe in a backing
file. Locks of QEMU are respected everywhere (no ``-U``), so an image that somebody writes to is refused.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vmseal import process
from vmseal.model.errors import GeneralError
from vmseal.model.volume import VolumeFormat

COROUTINES = 8  # requests at once; 16 is qemu-img's limit and gained nothing here
PROGRESS = re.compile(r"\((\d+\.\d+)/100%\)")


class QemuImgError(GeneralError):
    """``qemu-img`` failed; the text has its command and what it said."""


class ImageInUse(GeneralError):
    """Another process writes to the image, or would not let us."""


class ImageDamaged(GeneralError):
    """The image is truncated or inconsistent."""


@dataclass(frozen=True, kw_only=True)
class ImageInfo:
    """What a file's header says. Sizes in bytes; ``backing`` is the absolute name, None without a backing file."""

    virtual_size: int
    actual_size: int
    backing: str | None
    backing_format: str | None
    has_snapshots: bool
    has_bitmaps: bool
    is_encrypted: bool


class QemuImg:
    """Starts ``qemu-img``; every program carries ``mark`` (the state folder) so that a later agent finds leftovers."""

    def __init__(self, *, mark: str, program: str = "qemu-img") -> None:
        self._environment = dict(os.environ) | {process.RUN_MARK: mark, "LC_ALL": "C"}
        self._program = program

    async def version(self) -> str:
        """Return the version, such as ``7.2.22``."""
        output = await self._run(["--version"], "version")
        found = re.search(r"version (\S+)", output)
        return found[1] if found else "unknown"

    async def create(
        self,
        path: Path,
        capacity: int,
        *,
        volume_format: VolumeFormat,
        backing: tuple[str, VolumeFormat] | None = None,
    ) -> None:
        """Make the file an empty image of ``capacity`` bytes; ``backing``: a name in its folder, and the format."""
        options = ["-o", "compat=1.1"] if volume_format is VolumeFormat.COW else []
        if backing is not None:
            # -u: the backing file may be locked by a running VM; its format and size are known from the metadata
            options += ["-b", backing[0], "-F", backing[1].driver, "-u"]
        arguments = ["create", "-q", "-f", volume_format.driver, *options, str(path), str(capacity)]
        await self._run(arguments, f"create {path.name}", cwd=path.parent)

    async def info(self, path: Path, volume_format: VolumeFormat) -> ImageInfo:
        """Read the header; opens no backing file. Raises :class:`ImageInUse` when another process writes to it."""
        output = await self._run(["info", "--output=json", "-f", volume_format.driver, str(path)], f"info {path.name}")
        return _parse_info(output)

    async def check(self, path: Path) -> None:
        """Check a qcow2 file; raises :class:`ImageDamaged` when it is truncated or inconsistent; leaks are none."""
        command = [self._program, "check", "-q", "-f", VolumeFormat.COW.driver, str(path)]
        finished = await process.run(command, reason=f"check {path.name}", env=self._environment)
        if finished.returncode in (0, 3):  # 3: leaked clusters, which only waste space
            return
        _refuse_lock(path, finished.output)
        raise ImageDamaged(
            f"Image {path} is damaged or truncated (qemu-img check ended with status {finished.returncode}): "
            f"{finished.last_lines(2)}; copy it again from where it came"
        )

    async def convert(
        self,
        source: tuple[Path, VolumeFormat],
        destination: tuple[Path, VolumeFormat],
        *,
        target_is_zero: bool,
        is_cached: bool = False,
        progress: Callable[[float], None] = lambda _: None,
    ) -> None:
        """Copy the collapsed content of ``source`` into the existing image ``destination``; ``progress`` in percent.

        ``target_is_zero`` says that the destination reads as zeroes, so that zeroes need not be written. ``is_cached``:
        what is read and written stays in the page cache.
        """
        (source_path, source_format), (path, volume_format) = source, destination
        arguments = ["convert", "-p", "-n", "-m", str(COROUTINES), "-S", "4k"]
        modes = ("writeback", "writeback") if is_cached else (_cache_mode(path), _cache_mode(source_path))
        arguments += ["-t", modes[0], "-T", modes[1]]
        if target_is_zero:
            arguments.append("--target-is-zero")
        if volume_format is VolumeFormat.RAW:
            arguments.append("-W")  # out of order; in qcow2 it would scatter the clusters over the file
        arguments += ["-f", source_format.driver, "-O", volume_format.driver, str(source_path), str(path)]

        def on_line(line: str) -> None:
            if found := PROGRESS.search(line):
                progress(float(found[1]))

        await self._run(arguments, f"convert {source_path.name} to {path.name}", on_line=on_line)

    async def _run(
        self,
        arguments: list[str],
        reason: str,
        *,
        cwd: Path | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> str:
        command = [self._program, *arguments]
        try:
            finished = await process.run(command, reason=reason, env=self._environment, cwd=cwd, on_line=on_line)
        except FileNotFoundError as error:
            raise QemuImgError(f"{error} (Debian's package is qemu-utils)") from error
        if finished.returncode != 0:
            _refuse_lock(Path(arguments[-1]), finished.output)
            raise QemuImgError(f"Command {command} failed with status {finished.returncode}: {finished.last_lines()}")
        return finished.output


def _refuse_lock(path: Path, output: str) -> None:
    if not ("Failed to get" in output and "lock" in output):
        return
    named = re.search(r"Could not open '([^']+)'", output)
    raise ImageInUse(
        f"Image is in use by another process, which has locked it: {named[1] if named else path}; "
        "shut that process (a virtual machine?) down first"
    )


def _parse_info(output: str) -> ImageInfo:
    # Warnings share the output with the JSON, which starts on a line of its own.
    start = output.index("{\n")
    data, _ = json.JSONDecoder().raw_decode(output[start:])
    specific = data.get("format-specific", {}).get("data", {})
    return ImageInfo(
        virtual_size=data["virtual-size"],
        actual_size=data.get("actual-size", 0),
        backing=data.get("full-backing-filename", data.get("backing-filename")),
        backing_format=data.get("backing-filename-format"),
        has_snapshots=bool(data.get("snapshots")),
        has_bitmaps=bool(specific.get("bitmaps")),
        is_encrypted=bool(data.get("encrypted")) or "encrypt" in specific,
    )


def _cache_mode(path: Path) -> str:
    """Return ``none`` where the file system can do O_DIRECT, else ``writeback``; the caller makes data durable."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC))
    except OSError:
        return "writeback"
    return "none"
