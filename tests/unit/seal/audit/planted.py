"""Identities and secrets to plant in a clean guest, one for each thing that an audit is to find, each with its name."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.unit.seal.guests import DEBIAN, RHEL, hit

from vmseal.seal.catalogue import Operation, load
from vmseal.seal.pattern import expand

CENTOS7 = 'PRETTY_NAME="CentOS Linux 7"\nID="centos"\nID_LIKE="rhel fedora"\nVERSION_ID="7"\n'
CONTENT = "secret of the source\n"
OF_AN_OPERATION = 4  # globs of one that are tried
# Plants of these in a whole guest would change what the guest is.
NOT_TOGETHER = frozenset({"ssh-first-boot"})


@dataclass(frozen=True)
class Plant:
    """A file, and the name under which it is to be found; ``release`` is the guest's os-release."""

    name: str
    path: str
    content: str | bytes = CONTENT
    release: str = DEBIAN

    def put(self, guest: Path) -> Path:
        """Plant it."""
        file = guest / self.path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(self.content if isinstance(self.content, bytes) else self.content.encode())
        return file


def everything() -> list[Plant]:
    """Return all plants; what two operations name comes once for each."""
    return list({(plant.name, plant.path): plant for plant in (*_of_globs(), *CODES, *_of_content())}.values())


def _release(operation: Operation) -> str:
    if "yum" in operation.guest.packager:
        return CENTOS7
    return RHEL if operation.guest.distro or operation.guest.package_format else DEBIAN


def _of_globs() -> Iterator[Plant]:
    """Yield plants for what the operations remove, empty or report by name."""
    for operation in load():
        globs = [*operation.remove, *operation.remove_files, *operation.empty, *operation.report]
        globs += [f"{folder}/**" for folder in operation.remove_files_under]
        plain = [each for glob in globs for each in expand(glob) if each not in operation.keep]
        name = "random-seed" if operation.name == "customize" else operation.name.removesuffix("-kept")
        for glob in plain[:OF_AN_OPERATION]:
            if not hit(glob).startswith("/dev/"):
                yield Plant(name, hit(glob), release=_release(operation))


KEYFILE = "[connection]\nid=lan\ntype=ethernet\nuuid=6a0c1d6e-9d0f-4d3b-8a7e-0d1f2f3a4b5c\n"
PASSWD = "root:x:0:0::/root:/bin/sh\ngit:x:998:998::/srv/git:/bin/sh\niris:x:1000:1000::/home/iris:/bin/sh\n"
LOGIN = '{"auths": {"registry.example": {"auth": "dXNlcjpodW50ZXIyMg=="}}}\n'
MAC = "52:54:00:12:34:56"
NETPLAN = f"network:\n  ethernets:\n    ens3:\n      match:\n        macaddress: {MAC}\n      dhcp4: true\n"
# What operations with code look for, and lines that are deleted.
CODES = (
    Plant("machine-id", "/etc/machine-id", "8c2f4500bd5845c0b760559cf1b9e71e\n"),
    Plant("dbus-machine-id", "/var/lib/dbus/machine-id", "8c2f4500bd5845c0b760559cf1b9e71e\n"),
    Plant("hostname", "/etc/hostname", "build01.corp.example\n"),
    Plant("mailname", "/etc/mailname", "build01.corp.example\n"),
    Plant("hosts-entries", "/etc/hosts", "127.0.0.1 localhost\n127.0.1.1 build01.corp.example build01\n"),
    Plant("iscsi-initiator", "/etc/iscsi/initiatorname.iscsi", "InitiatorName=iqn.1993-08.org.debian:01:1234\n"),
    Plant("iscsi-initiator", "/var/lib/iscsi/nodes/iqn.2020-01.example/default"),
    Plant("netplan-addresses", "/etc/netplan/01-lan.yaml", NETPLAN),
    Plant("networkmanager-profiles", "/etc/NetworkManager/system-connections/lan.nmconnection", KEYFILE),
    Plant("link-addresses", "/etc/systemd/network/10-lan.link", f"[Match]\nMACAddress={MAC}\n[Link]\nName=lan0\n"),
    Plant("ifcfg-addresses", "/etc/sysconfig/network-scripts/ifcfg-eth0", f"DEVICE=eth0\nHWADDR={MAC}\n", RHEL),
    Plant("net-hwaddr", "/etc/sysconfig/network-scripts/ifcfg-eth1", f"DEVICE=eth1\nHWADDR={MAC}\n", RHEL),
    Plant("net-hostname", "/etc/sysconfig/network-scripts/ifcfg-eth2", "DEVICE=eth2\nDHCP_HOSTNAME=b1\n", RHEL),
    Plant("ifupdown-addresses", "/etc/network/interfaces", f"iface eth0 inet dhcp\n  hwaddress ether {MAC}\n"),
    Plant("machine-info", "/etc/machine-info", "LOCATION=rack 7\n"),
    Plant("sysconfig-hostname", "/etc/sysconfig/network", "HOSTNAME=build01\n"),
    Plant("popularity-contest", "/etc/popularity-contest.conf", 'MY_HOSTID="0123456789abcdef"\n'),
    Plant("landscape-client", "/etc/landscape/client.conf", "[client]\nregistration_key = abc\n"),
    Plant("snmp-engine-id", "/var/lib/snmp/snmpd.conf", "oldEngineID 0x80001f88\n"),
    Plant("password-hashes", "/etc/shadow", "root:$y$j9T$abcdefghijkl$" + "a1B2" * 11 + ":19000::::::\n"),
    Plant("all-logs", "/var/log/app/app.log"),
    Plant("all-logs", "/var/log/app/app.log.3.gz"),
    Plant("all-logs", "/var/log/journal/8c2f4500bd5845c0b760559cf1b9e71e/system.journal"),
    Plant("backup-files", "/etc/app.conf.bak"),
    Plant("backup-files", "/srv/data/notes~"),
    Plant("boot-entries", "/boot/loader/entries/8c2f4500bd5845c0b760559cf1b9e71e-6.1.conf"),
    Plant("cloud-init-configuration", "/etc/cloud/cloud.cfg.d/99-installer.cfg"),
    Plant("configuration-secrets", "/etc/apt/sources.list.d/x.list", "deb https://bob:hunter22@apt.example/ s main\n"),
    Plant("configuration-secrets", "/etc/sssd/sssd.conf", "[domain/x]\nldap_default_authtok = hunter22\n"),
    Plant("package-manager-cache", "/var/cache/apt/archives/a.deb"),
    Plant("pacct-log", "/var/log/account/pacct"),
    Plant("user-configuration-secrets", "/root/.npmrc", "//registry.example/:_authToken=abcdef0123456789\n"),
    Plant("user-configuration-secrets", "/srv/git/.pypirc", "[pypi]\npassword = hunter22\n"),
    Plant("user-configuration-secrets", "/root/.docker/config.json", LOGIN),
    Plant("user-account", "/etc/passwd", PASSWD),
    Plant("ssh-first-boot", "/usr/sbin/sshd"),
)  # fmt: skip


def _letters(count: int, alphabet: str = "aB3dE5fG7hJ9kL2m") -> str:
    return (alphabet * (count // len(alphabet) + 1))[:count]


def _pem(kind: str) -> str:
    body = base64.encodebytes(bytes(range(256)) * 2).decode()
    return f"-----BEGIN {kind}-----\n{body}-----END {kind}-----\n"


PLACES = (
    "/opt/app/conf/settings.ini", "/srv/www/site/.env", "/etc/myapp/app.conf", "/root/notes.txt", "/home/ada/todo.md",
    "/var/www/html/config.php", "/var/lib/app/state.json", "/root/.config/tool/config.yml", "/etc/default/app",
    "/home/ada/.local/share/app/session", "/opt/.hidden/x", "/etc/cron.d/job", "/srv/git/.profile",
)  # fmt: skip
# Each kind of secret, in several places; the prefixes stand apart so that nobody takes this file for a leak.
SECRETS: dict[str, tuple[str, ...]] = {
    "private-key": tuple(_pem(f"{kind}PRIVATE KEY") for kind in ("RSA ", "EC ", "DSA ", "", "ENCRYPTED ")),
    "openssh-private-key": (_pem("OPENSSH PRIVATE KEY"),) * 4,
    "pgp-private-key": (_pem("PGP PRIVATE KEY BLOCK"),) * 2,
    "putty-private-key": ("PuTTY-User-Key-File-" + "3: ssh-ed25519\nEncryption: none\n",) * 3,
    "age-secret-key": ("AGE-SECRET-" + "KEY-1" + _letters(58, "QPZRY9X8GF2TVDW0") + "\n",) * 3,
    "wireguard-key": (f"[Interface]\nPrivateKey = {_letters(43)}=\n",) * 3,
    "kubernetes-key": (f"users:\n- user:\n    client-key-data: {_letters(80)}\n",) * 2,
    "aws-access-key": ("aws_access_key_id = AK" + "IA" + _letters(16, "ABCDEFGH234567XY") + "\n",) * 4,
    "aws-secret-key": (f"aws_secret_access_key = {_letters(40)}\n", f'"SecretAccessKey": "{_letters(40)}"\n') * 2,
    "azure-key": (f"DefaultEndpointsProtocol=https;AccountKey={_letters(86)}==;\n",) * 2,
    "github-token": (
        "gh" + f"p_{_letters(36)}\n", "TOKEN=gh" + f"s_{_letters(36)}\n", "github_" + f"pat_{_letters(60)}",
    ) * 2,
    "gitlab-token": ("gl" + f"pat-{_letters(20)}\n", "token = gl" + f"rt-{_letters(20)}\n") * 2,
    "slack-token": (
        "xo" + f"xb-123456789012-{_letters(24)}\n",
        "https://hooks." + f"slack.com/services/T0AAAAAAA/B0AAAAAAA/{_letters(24)}\n",
    ) * 2,
    "google-service-account": (
        '{"type": "service_account", "private_key": "-----BEGIN PRI' + f'VATE KEY-----\\n{_letters(64)}"}}',
    ) * 3,
    "google-api-key": ("AI" + f"za{_letters(35)}\n",) * 2,
    "google-oauth-token": ("ya" + f"29.{_letters(60)}\n",) * 2,
    "json-web-token": ("Cookie: ey" + f"J{_letters(30)}.ey" + f"J{_letters(60)}.{_letters(43)}\n",) * 4,
    "npm-token": ("np" + f"m_{_letters(36)}\n",) * 3,
    "pypi-token": ("password = py" + f"pi-AgEIcHlwaS5vcmc{_letters(60)}\n",) * 3,
    "docker-token": ("dckr_" + f"pat_{_letters(27)}\n",) * 2,
    "registry-login": (LOGIN,) * 2,
    "stripe-key": ("sk_" + f"live_{_letters(24)}\n",) * 2,
    "sendgrid-key": ("S" + f"G.{_letters(22)}.{_letters(43)}\n",) * 2,
    "digitalocean-token": ("dop_" + f"v1_{_letters(64, '0123456789abcdef')}\n",) * 2,
    "hugging-face-token": ("h" + f"f_{_letters(34, 'abcdefghABCDEFGH')}\n",) * 2,
    "vault-token": ("hv" + f"s.{_letters(24)}\n",) * 2,
    "terraform-token": (f"{_letters(14)}.atlas" + f"v1.{_letters(67)}\n",) * 2,
    "ai-api-key": ("sk-" + f"ant-{_letters(40)}\n",) * 2,
    "password-hash": (
        f"bob:$6${_letters(16)}${_letters(86)}:19000:0:99999:7:::\n", f"bob:$y$j9T${_letters(22)}${_letters(43)}:1::\n",
        f"rootpw --iscrypted $5${_letters(8)}${_letters(43)}\n", f"bob:$2y$10${_letters(53)}\n",
        f"bob:$apr1${_letters(8)}${_letters(22)}\n", f"userPassword: {{SSHA}}{_letters(32)}\n",
    ),
    "url-password": ("db = postgresql://app:s3cr3t-Word@db.example:5432/app\n",) * 3,
    "bearer-token": (f'curl -H "Authorization: Bearer {_letters(40)}" https://api.example/\n',) * 2,
}  # fmt: skip
NAMED = (
    Plant("netrc-password", "/opt/build/.netrc", "machine ftp.example login bob password hunter22\n"),
    Plant("password-setting", "/srv/app/prod.env", "DB_PASSWORD=correct-horse\n"),
    Plant("password-setting", "/opt/infra/prod.tfvars", 'db_password = "correct-horse"\n'),
    Plant("password-setting", "/opt/infra/credentials", "token: correct-horse-battery\n"),
    Plant("history", "/opt/app/.sqlite_history", "select * from users;\n"),
    Plant("history", "/srv/data/.bash_history", "mysql -phunter22\n"),
    Plant("private-key", "/etc/odd/place/server.der", b"\x30\x82\x04\xa3\x02\x01\x00\x02" + bytes(200)),
    Plant("key-store", "/opt/app/store.p12", b"\x30\x82\x09\x01\x02\x01\x03\x30" + bytes(range(200))),
    Plant("key-store", "/opt/app/store.jks", b"\xfe\xed\xfe\xed\x00\x00\x00\x02" + bytes(range(200))),
    Plant("kdbx", "/home/ada/team.kdbx", b"\x03\xd9\xa2\x9a\x67\xfb\x4b\xb5" + bytes(range(200))),
    Plant("keytab", "/opt/app/app.keytab", b"\x05\x02\x00\x00\x00\x3a" + bytes(range(60))),
)  # fmt: skip


def _of_content() -> Iterator[Plant]:
    number = 0
    for name, contents in SECRETS.items():
        for content in contents:
            place = Path(PLACES[number % len(PLACES)])
            yield Plant(name, f"{place.parent}/{number}-{place.name}", f"# settings\n{content}# end\n")
            number += 1
    yield from NAMED
