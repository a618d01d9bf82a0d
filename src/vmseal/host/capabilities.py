"""What ``Host.getCapabilities`` shows: VDSM's minimum, and under ``vmseal`` what is ours."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import vmseal
from vmseal.host.stats import memory
from vmseal.rpc.verb import EXTENSION_FEATURE

VDSM_VERSION = "4.50.6"  # whose verbs are served; engines decide by it what they may call
CLUSTER_LEVELS = ["4.2", "4.3", "4.4", "4.5", "4.6", "4.7"]
DOMAIN_VERSIONS = [0, 2, 3, 4, 5]
BLOCK_SIZES = [512, 4096]
STORAGE_TYPES = ("LOCALFS",)


@dataclass(kw_only=True)
class Capabilities:
    """Facts found at the start. ``accelerator`` is ``kvm``, ``tcg``, or empty while it is not known yet."""

    host_id: str
    sealers: list[str]  # the first one seals unless a request names another
    profiles: list[str]
    accelerator: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    def show(self) -> dict[str, object]:
        """Return the map with the types that VDSM's clients expect."""
        return {**_fixed(), **_hardware(), **_system(), **self._own()}

    def _own(self) -> dict[str, object]:
        return {
            "uuid": self.host_id,
            "kvmEnabled": "true" if self.accelerator == "kvm" else "false",
            "additionalFeatures": [EXTENSION_FEATURE],
            "vmseal": {
                "version": vmseal.__version__,
                "sealers": self.sealers,
                "profiles": self.profiles,
                "accelerator": self.accelerator,
                "versions": self.versions,
            },
        }


def _fixed() -> dict[str, object]:
    return {
        "software_version": VDSM_VERSION,
        "software_revision": "1",
        "version_name": "Snow Man",
        "supportedENGINEs": CLUSTER_LEVELS,
        "clusterLevels": CLUSTER_LEVELS,
        "emulatedMachines": ["pc", "q35"],
        "nameservers": [],
        "vmTypes": ["kvm"],
        "rngSources": ["random"],
        "reservedMem": "321",
        "guestOverhead": "65",
        "netConfigDirty": "False",
        "lastClientIface": "lo",
        "ISCSIInitiatorName": "",
        "packages2": {},
        "HBAInventory": {"FC": [], "iSCSI": []},
        "networks": {},
        "bridges": {},
        "nics": {},
        "bondings": {},
        "vlans": {},
        "numaNodes": {},
        "kdumpStatus": 0,
        "domain_versions": DOMAIN_VERSIONS,
        "supported_block_size": dict.fromkeys(STORAGE_TYPES, BLOCK_SIZES),
        "hostedEngineDeployed": False,
        "supportsIPv6": True,
    }


def _hardware() -> dict[str, object]:
    cpu = _cpu()
    threads = str(os.cpu_count() or 1)
    return {
        "cpuCores": threads,
        "cpuSockets": "1",
        "cpuThreads": threads,
        "memSize": str(memory()["MemTotal"]),
        "cpuModel": cpu.get("model name", platform.machine()),
        "cpuFlags": ",".join(cpu.get("flags", "").split()),
        "cpuSpeed": cpu.get("cpu MHz", "0"),
    }


def _cpu() -> Mapping[str, str]:
    """Return the first processor of ``/proc/cpuinfo``."""
    first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _system() -> dict[str, object]:
    release = platform.freedesktop_os_release()
    return {
        "operatingSystem": {
            "name": release.get("NAME", "Linux"),
            "version": release.get("VERSION_ID", ""),
            "release": platform.release(),
            "pretty_name": release.get("PRETTY_NAME", "Linux"),
        },
        "selinux": {"mode": "1" if Path("/sys/fs/selinux/enforce").exists() else "-1"},
    }
