"""What cloud-init and the installer wrote for the first instance, where cloud-init will write it again."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

from vmseal.seal import text
from vmseal.seal.operations import Work
from vmseal.seal.root import Root

PROGRAMS = ("/usr/bin/cloud-init", "/usr/local/bin/cloud-init", "/bin/cloud-init")
ENABLED = (
    "/etc/systemd/system/*.wants/cloud-init*", "/usr/lib/systemd/system/*.wants/cloud-init*",
    "/lib/systemd/system/*.wants/cloud-init*", "/etc/runlevels/*/cloud-init*", "/etc/rc[2345].d/S*cloud-init*",
)  # fmt: skip
DISABLED = "/etc/cloud/cloud-init.disabled"
CONFIGURATION = ("/etc/cloud/cloud.cfg", "/etc/cloud/cloud.cfg.d/*.cfg")
NETWORK_OFF = re.compile(r"^network:\s*\{?\s*[\"']?config[\"']?:\s*[\"']?disabled", re.MULTILINE)
NETWORK = (
    "/etc/netplan/50-cloud-init.yaml", "/etc/NetworkManager/conf.d/99-cloud-init.conf",
    "/etc/NetworkManager/conf.d/30-cloud-init-ip6-addr-gen-mode.conf",
    "/etc/NetworkManager/system-connections/cloud-init-*.nmconnection", "/etc/systemd/network/10-cloud-init-*.network",
    "/etc/network/interfaces.d/50-cloud-init*",
)  # fmt: skip
OTHERS = (
    "/etc/ssh/sshd_config.d/50-cloud-init.conf", "/etc/cloud/cloud.cfg.d/99-installer.cfg",
    "/etc/cloud/cloud.cfg.d/*installer*", "/etc/cloud/cloud.cfg.d/*subiquity*", "/etc/cloud/cloud.cfg.d/curtin-*",
    "/etc/cloud/ds-identify.cfg",
)  # fmt: skip


def run(work: Work) -> None:
    """Remove the files if cloud-init is installed and enabled; otherwise nothing would bring the network back."""
    root = work.root
    reason = _unused(root)
    if reason is not None:
        for path in root.glob(*NETWORK, *OTHERS, DISABLED):
            root.keep(path, reason)
        return
    root.remove(OTHERS)
    switch = _network_switch(root)
    if switch is None:
        root.remove(NETWORK)
        return
    for path in root.glob(*NETWORK):
        root.keep(path, f"{switch} keeps cloud-init from configuring the network")


def _unused(root: Root) -> str | None:
    if not any(root.is_file(program) for program in PROGRAMS):
        return "cloud-init is not installed: nothing would write it again"
    if root.lstat(DISABLED) is not None:
        return f"{DISABLED} switches cloud-init off: nothing would write it again"
    return None if root.glob(*ENABLED) else "cloud-init is not enabled: nothing would write it again"


def _network_switch(root: Root) -> str | None:
    """Return the file that switches cloud-init's network configuration off, unless it is one of those removed."""
    for path in root.glob(*CONFIGURATION):
        removed = any(fnmatchcase(path, pattern) for pattern in OTHERS)
        if not removed and NETWORK_OFF.search(text.read(root, path) or ""):
            return path
    return None
