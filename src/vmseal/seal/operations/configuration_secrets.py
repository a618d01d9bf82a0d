"""Passwords, keys and ids in configuration files of services. They are reported: the service needs them, or another."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vmseal.seal import text
from vmseal.seal.operations import Work

URL = text.URL_WITH_PASSWORD


@dataclass(frozen=True)
class Sought:
    """Files, what a line of them holds where there is something to report, and what that is."""

    paths: tuple[str, ...]
    line: re.Pattern[str]
    what: str


def _sought(paths: tuple[str, ...], begin: str, what: str) -> Sought:
    return Sought(paths, re.compile(rf"^[ \t]*{begin}", re.MULTILINE), what)


SOUGHT = (
    _sought(
        ("/etc/iscsi/iscsid.conf",), r"(node|discovery)\.\S*auth\.(username|password)\S*\s*=\s*\S", "iSCSI CHAP logins"
    ),
    _sought(("/etc/apt/sources.list", "/etc/apt/sources.list.d/*"), rf"[^#\n]*{URL}", "repository passwords"),
    _sought(
        ("/etc/yum.repos.d/*", "/etc/zypp/repos.d/*"),
        rf"(username|password|proxy_password|sslclientkey)\s*=\s*\S|[^#\n]*{URL}",
        "repository logins",
    ),
    _sought(("/etc/dnf/dnf.conf", "/etc/yum.conf"), rf"proxy_password\s*=\s*\S|[^#\n]*{URL}", "a proxy's password"),
    _sought(("/etc/environment",), r"(?i:[^#\n]*proxy[^=\n]*=\S*@)", "a proxy's password"),
    _sought(
        ("/etc/sssd/sssd.conf", "/etc/sssd/conf.d/*"), r"ldap_default_authtok\s*=\s*\S", "the directory's password"
    ),
    _sought(("/etc/newrelic-infra.yml",), r"license_key\s*:\s*\S", "the agent's licence key"),
    _sought(("/etc/datadog-agent/datadog.yaml",), r"api_key\s*:\s*\S", "the agent's API key"),
    _sought(("/etc/libvirt/libvirtd.conf", "/etc/libvirt/virtqemud.conf"), r"host_uuid\s*=\s*\S", "the host's UUID"),
)


def run(work: Work) -> None:
    """Report the files that hold something."""
    for sought in SOUGHT:
        for path in work.root.glob(*sought.paths):
            content = text.read(work.root, path)
            if content is not None and sought.line.search(content):
                work.root.keep(path, f"it holds {sought.what}; the service may need it")
