"""Building guests: from a recipe to disk images of a machine that has been in use.

    .venv/bin/python -m guests.build debian12-ext4

The tree of packages is cached apart from the disks, so the second recipe costs no installation. A guest's first boot
happens here, in QEMU, and gives it what a sealed copy must not have: a machine id, logs, leases, histories.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import structlog

from guests import tree
from guests.boot import Identity, Machine, booted
from guests.cache import cached, key_of
from guests.disks import key as disk_key
from guests.disks import make_disks
from guests.programs import run
from guests.recipes import OTHER_RELEASES, RECIPES, Recipe
from vmseal.model.errors import VmsealError
from vmseal.model.volume import VolumeFormat
from vmseal.sealers.accelerator import Accelerators
from vmseal.sealers.sealer import Disk

CACHE = Path(__file__).parent.parent / ".cache" / "guests"
IDENTITY = "identity.json"

# What people leave on a machine. The lease is a real one, from QEMU's DHCP server, by the client that Debian's
# installer configures; -sf keeps that client away from the address, which networkd has set already.
USE = """
set -eu
interface=$(ls /sys/class/net | grep -v lo)
dhclient -1 -sf /bin/true -pf /run/dhclient.pid -lf "/var/lib/dhcp/dhclient.$interface.leases" "$interface"
kill "$(cat /run/dhclient.pid)"
useradd --create-home --shell /bin/bash --uid 1000 iris
install -d -m 700 /root/.ssh -o root && install -d -m 700 -o iris -g iris /home/iris/.ssh
ssh-keygen -q -t ed25519 -N '' -C iris@$(hostname) -f /home/iris/.ssh/id_ed25519
cp /home/iris/.ssh/id_ed25519.pub /root/.ssh/authorized_keys
chown iris:iris /home/iris/.ssh/id_ed25519*
printf 'mysql -u root -pcorrect-horse\\ncurl -H "Authorization: Bearer 5ea1ed" http://build/\\n' > /root/.bash_history
printf 'ssh root@db1\\nexport TOKEN=5ea1ed\\n' > /home/iris/.bash_history
chmod 600 /root/.bash_history /home/iris/.bash_history
printf 'From: cron\\n\\nbackup done\\n' > /var/mail/iris
printf '0 3 * * * /usr/local/bin/backup\\n' > /var/spool/cron/crontabs/iris
echo 'session=5ea1ed' > /tmp/session
echo 'left from an update' > /var/tmp/update.log
logger -t backup 'backup of '"$(hostname)"' done'
[ ! -d /srv ] || ! mountpoint -q /srv || echo "data of $(hostname)" > /srv/data
journalctl --sync
sync
"""


def build(recipe: Recipe, cache: Path = CACHE, *, disk_format: VolumeFormat = VolumeFormat.COW) -> list[Path]:
    """Return the disk images of a guest, in the guest's order, built unless the cache has them.

    The images must not be written to; the next user gets the same ones.

    Raises:
        ProgramError, FileNotFoundError: a program that builds failed, or is not installed.
        GuestError: the guest did not boot.
        NoPackageSourceError: this machine has no source of Debian packages.

    """
    return asyncio.run(build_guest(recipe, cache, disk_format=disk_format))


async def build_guest(
    recipe: Recipe, cache: Path = CACHE, *, disk_format: VolumeFormat = VolumeFormat.COW
) -> list[Path]:
    """Do what :func:`build` does, from a coroutine."""
    accelerators = Accelerators(cache)

    async def make(folder: Path) -> None:
        base = await cached(cache, f"tree-{tree.key(recipe.suite)}", partial(tree.make, suite=recipe.suite))
        accelerator = await accelerators.best()
        made = await make_disks(recipe, base / tree.TAR, folder, accelerator)
        identity = await _use(as_disks(made), Machine(accelerator=accelerator))
        for raw in made:
            await _convert(raw, folder / raw.with_suffix(".qcow2").name, "qcow2")
            raw.unlink()
        (folder / IDENTITY).write_text(identity.as_json())

    async def convert(folder: Path) -> None:
        for image in _images(built):
            await _convert(image, folder / image.with_suffix(".raw").name, "raw")
        (folder / IDENTITY).write_text((built / IDENTITY).read_text())

    key = f"{recipe.name}-{key_of(tree.key(recipe.suite), disk_key(recipe), USE)}"
    built = await cached(cache, key, make)
    if disk_format is VolumeFormat.RAW:
        built = await cached(cache, f"{key}-raw", convert)
    return _images(built)


def identity_of(images: Sequence[Path]) -> Identity:
    """Return the identity that the built guest had at its first boot."""
    return Identity.from_json((images[0].parent / IDENTITY).read_text())


def as_disks(images: Sequence[Path]) -> list[Disk]:
    """Return built images with their formats."""
    formats = {".qcow2": VolumeFormat.COW, ".raw": VolumeFormat.RAW}
    return [Disk(image, formats[image.suffix]) for image in images]


async def _use(disks: Sequence[Disk], machine: Machine) -> Identity:
    """Boot the guest for the first time, use it, and shut it down."""
    async with booted(disks, machine=machine, overlay=False) as guest:
        identity = await guest.identity()
        await guest.execute(USE)
        await guest.power_off()
    return identity


async def _convert(source: Path, target: Path, driver: str) -> None:
    await run(["qemu-img", "convert", "-O", driver, str(source), str(target)], log=target.parent / "build.log")


def _images(folder: Path) -> list[Path]:
    return sorted(folder.glob("disk[0-9].*"))


def main() -> None:
    """Build the guests that are named on the command line, by default all of Debian 12, and print their images."""
    known = RECIPES | OTHER_RELEASES
    parser = argparse.ArgumentParser(prog="python -m guests.build", description=main.__doc__)
    parser.add_argument("recipe", nargs="*", choices=[*known, []], help=", ".join(known))
    parser.add_argument("--raw", action="store_true", help="raw images instead of qcow2")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where built guests are kept (%(default)s)")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    disk_format = VolumeFormat.RAW if options.raw else VolumeFormat.COW
    recipes = [known[name] for name in options.recipe or RECIPES]
    try:
        asyncio.run(_build_all(recipes, options.cache, disk_format))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit("stopped; nothing runs any more")
    except VmsealError as error:
        sys.exit(str(error))


async def _build_all(recipes: Sequence[Recipe], cache: Path, disk_format: VolumeFormat) -> None:
    task = asyncio.current_task()
    assert task  # noqa: S101  this is a coroutine
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # as Ctrl-C: nothing is left running
    for recipe in recipes:
        images = await build_guest(recipe, cache, disk_format=disk_format)
        print(*images, sep="\n", flush=True)  # noqa: T201  a command


if __name__ == "__main__":
    main()
