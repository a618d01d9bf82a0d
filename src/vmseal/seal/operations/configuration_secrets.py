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
    pattern: str
    what: str

    def found_in(self, content: str) -> bool:
        """Whether a line begins so."""
        return re.search(rf"^[ \t]*{self.pattern}", content, re.MULTILINE) is not None


SOUGHT = (
    Sought(
        ("/etc/iscsi/iscsid.conf",), r"(node|discovery)\.\S*auth\.(username|password)\S*\s*=\s*\S", "iSCSI CHAP logins"
    ),
    Sought(("/etc/apt/sources.list", "/etc/apt/sources.list.d/*"), rf"[^#\n]*{URL}", "repository passwords"),
    Sought(
        ("/etc/yum.repos.d/*", "/etc/zypp/repos.d/*"),
        rf"(username|password|proxy_password|sslclientkey)\s*=\s*\S|[^#\n]*{URL}",
        "repository logins",
    ),
    Sought(("/etc/dnf/dnf.conf", "/etc/yum.conf"), rf"proxy_password\s*=\s*\S|[^#\n]*{URL}", "a proxy's password"),
    Sought(("/etc/environment",), r"(?i:[^#\n]*proxy[^=\n]*=\S*@)", "a proxy's password"),
    Sought(("/etc/sssd/sssd.conf", "/etc/sssd/conf.d/*"), r"ldap_default_authtok\s*=\s*\S", "the directory's password"),
    Sought(("/etc/newrelic-infra.yml",), r"license_key\s*:\s*\S", "the agent's licence key"),
    Sought(("/etc/datadog-agent/datadog.yaml",), r"api_key\s*:\s*\S", "the agent's API key"),
    Sought(("/etc/libvirt/libvirtd.conf", "/etc/libvirt/virtqemud.conf"), r"host_uuid\s*=\s*\S", "the host's UUID"),
)


def run(work: Work) -> None:
    """Report the files that hold something."""
    for sought in SOUGHT:
        for path in work.root.glob(*sought.paths):
            content = text.read(work.root, path)
            if content is not None and sought.found_in(content):
                work.root.keep(path, f"it holds {sought.what}; the service may need it")
