"""Running a command as its user would, and what it costs."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vmseal.sealers.accelerator import Accelerator, Accelerators

RESULTS = Path(__file__).parents[2] / "bench" / "results"
# In a process of its own, so that the peak is this command's and not that of one before.
WRAPPER = """
import json, resource, subprocess, sys, time
begin = time.monotonic()
done = subprocess.run(sys.argv[1:], capture_output=True, text=True, errors="replace")
wall = time.monotonic() - begin
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([done.returncode, wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, done.stderr[-2000:]]))
"""


@dataclass(frozen=True)
class Measured:
    """Seconds by the clock, seconds of processor, and MiB of the largest process: of a command and all it started."""

    wall: float
    cpu: float
    rss: float


def measure(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Measured:
    """Run ``command`` to its end; it must succeed."""
    wrapped = [sys.executable, "-c", WRAPPER, *command]
    output = subprocess.run(wrapped, env=dict(environment or os.environ), check=True, capture_output=True, text=True)
    status, wall, cpu, rss, errors = json.loads(output.stdout)
    assert status == 0, f"{' '.join(command)} ended with {status}: {errors}"
    return Measured(round(wall, 2), round(cpu, 2), round(rss))


def keep(name: str, result: Mapping[str, object]) -> None:
    """Write a result to bench/results/NAME.json."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")


def overlay(source: Path, path: Path) -> Path:
    """Make a qcow2 overlay, so that every round starts with the same guest."""
    path.unlink(missing_ok=True)
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(source.resolve()), str(path)]
    subprocess.run(command, check=True)
    return path


def stock_environment(folder: Path) -> dict[str, str]:
    """Return what virt-sysprep needs here to work at all."""
    accelerator = asyncio.run(Accelerators(folder).best())
    forced = {"LIBGUESTFS_BACKEND_SETTINGS": "force_tcg"} if accelerator is Accelerator.TCG else {}
    return {**os.environ, "LIBGUESTFS_BACKEND": "direct", **forced}
