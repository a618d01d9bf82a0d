"""What ``Host.getStats`` shows: load, memory, and the state of the storage domains."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path

from vmseal.host.storage import Storage
from vmseal.model.errors import VerbError


def memory() -> dict[str, int]:
    """Return ``/proc/meminfo`` in MiB, by its own names."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    return {fields[0].rstrip(":"): int(fields[1]) // 1024 for fields in lines}


def host_stats(storage: Storage) -> dict[str, object]:
    """Return the map with the types that VDSM's clients expect: most numbers as strings."""
    now = memory()
    used = 100 - 100 * now["MemAvailable"] // max(1, now["MemTotal"])
    load = os.getloadavg()[0]
    busy = min(100.0, 100.0 * load / (os.cpu_count() or 1))
    return {
        "cpuLoad": f"{load:.2f}",
        "cpuUser": f"{busy:.2f}",
        "cpuSys": "0.00",
        "cpuIdle": f"{100 - busy:.2f}",
        "memUsed": str(used),
        "elapsedTime": str(int(time.monotonic())),
        "dateTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S GMT"),
        "memFree": now["MemAvailable"],
        "swapTotal": now["SwapTotal"],
        "swapFree": now["SwapFree"],
        "vmCount": 0,
        "vmActive": 0,
        "vmMigrating": 0,
        "incomingVmMigrations": 0,
        "outgoingVmMigrations": 0,
        "storageDomains": _domains(storage),
        "network": {},
        "cpuStatistics": {},
        "diskStats": {},
        "haStats": {
            "active": False,
            "configured": False,
            "globalMaintenance": False,
            "localMaintenance": False,
            "score": 0,
        },
        "ksmState": False,
        "ksmPages": 0,
        "ksmCpu": 0,
        "momStatus": "inactive",
    }


def _domains(storage: Storage) -> dict[str, object]:
    return {domain_id: _domain(storage, domain_id) for domain_id in (storage.pool.domains if storage.pool else ())}


def _domain(storage: Storage, domain_id: str) -> dict[str, object]:
    begin = time.monotonic()
    code = 0
    try:
        storage.domain(domain_id).load()
    except VerbError as error:
        code = error.code
    delay = f"{time.monotonic() - begin:.6f}"
    valid = code == 0
    return {
        "acquired": valid,
        "actual": True,
        "valid": valid,
        "code": code,
        "version": 5 if valid else -1,
        "lastCheck": "0.0",
        "delay": delay,
    }
