"""Making the appliance beforehand, in a process of low priority: what seals meanwhile shall not be slowed by it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from vmseal import process
from vmseal.sealers.appliance.appliance import Appliance
from vmseal.sealers.appliance.snapshot import UNFINISHED, Cache
from vmseal.sealers.sealer import ApplianceFailed, SealError

NICENESS = 10  # low, and not the lowest: a seal may come that waits for what is made here
CLEARING = 2.0  # seconds; if somebody else builds there for longer, what is unfinished is theirs


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """An appliance that is to be made; the values are :class:`Appliance`'s."""

    state: Path
    cache: Path
    memory: int  # MiB

    async def __call__(self) -> None:
        """Make it, if it is not there; whoever is cancelled leaves neither a process nor a file.

        Raises:
            ApplianceFailed: it cannot be made.

        """
        # Whoever is killed removes no temporary files.
        with TemporaryDirectory(prefix="vmseal-prepare-") as folder:
            environment = {**os.environ, "TMPDIR": folder, process.RUN_MARK: str(self.state)}
            words = json.dumps([str(self.state), str(self.cache), self.memory])
            # -P: modules in the folder that somebody happened to start the agent from are none of ours.
            command = ["nice", "-n", str(NICENESS), sys.executable, "-P", "-m", __name__, words]
            try:
                finished = await process.run(command, reason="prepare the appliance", env=environment)
            except asyncio.CancelledError:
                await process.uninterrupted(_clear(self.appliance.stock.cache))
                raise
        if finished.returncode:
            raise ApplianceFailed(finished.last_lines() or f"its process ended with status {finished.returncode}")

    @property
    def appliance(self) -> Appliance:
        """What is made."""
        return Appliance(state=self.state, cache=self.cache, memory=self.memory)


async def _clear(cache: Cache) -> None:
    """Remove what a killed process has left unfinished."""
    try:
        async with asyncio.timeout(CLEARING), cache.locked():
            for name in cache.names():
                if name.endswith(UNFINISHED):
                    cache.discard(name)
    except (TimeoutError, ApplianceFailed):
        return  # the next build removes it


def main() -> None:
    """Make the appliance that the argument describes; the last words say why it cannot be made."""
    state, cache, memory = json.loads(sys.argv[1])
    preparation = Preparation(state=Path(state), cache=Path(cache), memory=memory)
    try:
        asyncio.run(preparation.appliance.prepare())
    except (SealError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
