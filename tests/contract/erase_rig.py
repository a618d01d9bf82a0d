"""File systems on loop devices that are filled, emptied and then searched for what was deleted. Needs root."""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CANARY = b"Erase-Me:"  # begins all that must not be found afterwards; not UPPER CASE, so that FAT keeps it whole
NAME = "Erase-Me~"  # the same in names
LOOP_CTL_GET_FREE = 0x4C82
LOOP_MAJOR = 7


def dice_of(what: object) -> random.Random:
    """Return dice that fall the same way for the same test."""
    return random.Random(str(what))  # noqa: S311 - for test data


def run(*argv: str | Path) -> str:
    """Run a program; its output is in the error if it fails."""
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{argv} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def sparse(path: Path, size: int, *command: str) -> Path:
    """Make a file of ``size`` MiB without data, and run a command on it."""
    with path.open("wb") as file:
        file.truncate(size << 20)
    if command:
        run(*command, path)
    return path


@contextmanager
def loop(image: Path) -> Iterator[str]:
    """Attach ``image`` to a loop device; makes the node where a container's /dev lacks it."""
    control = os.open("/dev/loop-control", os.O_RDWR)
    number = fcntl.ioctl(control, LOOP_CTL_GET_FREE)
    os.close(control)
    node = Path(f"/dev/loop{number}")
    if not node.exists():
        os.mknod(node, 0o660 | stat.S_IFBLK, os.makedev(LOOP_MAJOR, number))
    device = run("losetup", "--find", "--show", image).strip()
    try:
        yield device
    finally:
        run("losetup", "--detach", device)


@contextmanager
def mounted(image: Path, *options: str) -> Iterator[Path]:
    """Mount the file system in ``image``."""
    point = image.with_suffix(".mount")
    point.mkdir(exist_ok=True)
    with loop(image) as device:
        run("mount", *options, device, point)
        try:
            yield point
        finally:
            run("umount", point)


def soiled(image: Path, size: int) -> Path:
    """Make an image that is full of canaries, so that whatever mkfs leaves alone shows."""
    line = CANARY + b"from before mkfs, "
    page = (line * (4096 // len(line) + 1))[:4096]
    with image.open("wb") as file:
        for _ in range(size // 2**20):
            file.write(page * 256)
    return image


def fill(root: Path, dice: random.Random, *, files: int = 150) -> None:
    """Put files, links, attributes and directories below ``root``: some to stay, and between them some to go."""
    places = [root]
    for index in range(files):
        if dice.random() < 0.1:
            places.append(dice.choice(places) / f"folder {index}")
            places[-1].mkdir()
        stays = dice.random() < 0.5
        name = f"stays {index}" if stays else f"{NAME}{index}" + "n" * dice.randrange(100)
        _make(dice.choice(places) / name, dice, stays=stays)
    os.sync()


def _make(path: Path, dice: random.Random, *, stays: bool) -> None:
    text = b"stays, " if stays else CANARY
    kind = dice.random()
    if kind < 0.15:
        path.symlink_to(os.fsdecode(text) + "target/" * dice.choice([1, 5, 17, 120]))
        return
    if kind < 0.2:
        path.mkdir()
        (path / os.fsdecode(text).replace(":", "~")).write_bytes(text)
        return
    path.write_bytes(text * dice.choice([0, 1, 5, 12, 20, 400, 8000, 60000]))


def soil_attributes(root: Path, dice: random.Random) -> None:
    """Give files attributes: on files that stay, some go again."""
    for path in sorted(root.rglob("*")):
        if not path.is_file() or path.is_symlink():
            continue
        for length in (10, 60, 200):
            os.setxattr(path, f"user.{NAME}{length}", CANARY + b"v" * length)
            if path.name.startswith("stays"):
                os.setxattr(path, f"user.stays{length}", b"stays" + b"v" * dice.randrange(length))


def tidy(root: Path) -> None:
    """Delete what has to go."""
    for path in sorted(root.rglob("*"), reverse=True):
        if path.is_file() and not path.is_symlink():
            for name in os.listxattr(path):
                if NAME in name:
                    os.removexattr(path, name)
        if path.name.startswith(NAME):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    os.sync()


def fingerprint(root: Path) -> dict[str, tuple[object, ...]]:
    """Return all that is known of every file below ``root``, its times and attributes too."""
    return {str(path.relative_to(root)): _facts(path) for path in sorted(root.rglob("*"))}


def _facts(path: Path) -> tuple[object, ...]:
    facts = path.lstat()
    attributes = {name: os.getxattr(path, name, follow_symlinks=False) for name in _names(path)}
    content = str(path.readlink()) if path.is_symlink() else ""
    if stat.S_ISREG(facts.st_mode):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    return (
        facts.st_ino,
        facts.st_mode,
        facts.st_uid,
        facts.st_gid,
        facts.st_size,
        facts.st_nlink,
        facts.st_mtime_ns,
        facts.st_ctime_ns,
        attributes,
        content,
    )


def _names(path: Path) -> list[str]:
    try:
        return os.listxattr(path, follow_symlinks=False)
    except OSError:  # FAT has none
        return []


def canaries(image: Path, *, needles: tuple[bytes, ...] = (CANARY, NAME.encode())) -> list[str]:
    """Return where in the raw bytes something to be erased is, the first twenty of each kind."""
    data = image.read_bytes()
    found: list[str] = []
    for needle in needles:
        at = data.find(needle)
        while at >= 0 and len(found) < 40:
            found.append(f"{at:#x} ({at // 4096}): {data[at : at + 30]!r}")
            at = data.find(needle, at + 4096)
    return found
