"""virt-sysprep's operations on trees shaped like Debian and RHEL: each glob with hits, and near misses beside them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.seal.guests import DEBIAN, RHEL, ROCKY, listing, make, plant, seal

from vmseal.seal.catalogue import load


def paths(text: str) -> list[str]:
    return text.split()


# Everywhere.
REMOVED = paths("""
/var/spool/abrt/ccpp-1/coredump /etc/fstab.bak /etc/x/.y~ /root/a.bak /srv/a/b/c~ /var/lib/x.bak
/home/ada/.bash_history /root/.bash_history /srv/svc/.bash_history /home/orphan/.bash_history /home/ada/.zsh_history
/root/.zsh_history /etc/blkid.tab /etc/blkid/blkid.tab.old /run/blkid.tab /dev/.blkid.tab /var/crash/202401/vmcore
/var/log/dump/x /var/spool/cron/crontabs/ada /var/spool/cron/atjobs/a1 /var/spool/at/spool/x /var/spool/atjobs/a
/var/spool/atspool/b /var/lib/dhcp/dhclient.leases /var/lib/dhclient/x/y /var/lib/dhcpd/dhcpd.leases
/var/lib/dovecot/ssl-parameters.dat /etc/ipa/ca.crt /etc/ipa/default.conf
/var/lib/ipa-client/sysrestore/sysrestore.state /usr/local/share/ca-certificates/ipa-ca.crt
/etc/pki/ca-trust/source/ipa.p11-kit /etc/krb5.keytab /etc/Pegasus/server.pem /root/anaconda-ks.cfg
/root/install.log.syslog /var/cache/man/index.db /var/cache/gdm/x/y /var/lib/AccountsService/users/ada
/var/lib/fprint/ada/x /var/lib/logrotate/status /var/lib/logrotate.status /var/log/syslog /var/log/syslog.1
/var/log/auth.log /var/log/dpkg.log.2.gz /var/log/apt/term.log /var/log/journal/abc/system.journal /var/log/wtmp
/var/log/btmp.1 /var/log/lastlog /var/log/messages-20240101 /var/log/secure /var/log/apache2/error_log-1
/var/log/httpd/access_log /var/log/cups/page_log.1 /var/log/libvirt/qemu/vm.log /var/log/libvirt/libvirtd.log
/var/log/sa/sa01 /var/log/audit/audit.log /var/log/installer/syslog /var/log/exim4/mainlog
/var/log/ppp/connect-errors /var/log/glusterfs/etc-glusterd.vol.log /var/named/data/named.run
/var/log/anaconda/anaconda.log /var/log/rhsm/rhsm.log /etc/lvm/devices/system.devices /var/spool/mail/ada
/var/mail/root /run/faillock/ada /run/sepermit/x /run/console/x /etc/passwd- /etc/shadow- /etc/group- /etc/gshadow-
/etc/subuid- /etc/subgid- /var/log/puppet/a /var/lib/puppet/ssl/ca /var/lib/puppet/ssl/certs/a.pem
/var/log/samba/log.smbd /var/log/samba/old/x /var/lib/samba/secrets.tdb /var/lib/samba/private/secrets.tdb
/etc/sysconfig/hw-uuid /etc/smolt/uuid /etc/ssh/ssh_host_rsa_key /etc/ssh/ssh_host_rsa_key.pub /home/ada/.ssh/id_rsa
/root/.ssh/authorized_keys /srv/svc/.ssh/config /var/log/sssd/sssd.log /var/lib/sss/db/cache.ldb /tmp/a /tmp/.b/c
/var/tmp/d/e /var/tmp/.f /etc/udev/rules.d/70-persistent-net.rules /run/utmp /var/lib/systemd/random-seed
/var/lib/urandom/random-seed /var/lib/seedrng/seed.credit /etc/random-seed /boot/efi/loader/random-seed
""")
KEPT = paths("""
/etc/fstab /etc/x.bak2 /home/ada/a.bak /opt/a.bak /usr/share/x~ /home/ada/.bashrc /home/ada/d/.bash_history
/home/ada/.bash_history2 /etc/blkid.tab2 /var/crashes/x /var/spool/cron/.SEQ /var/spool/atjobs/.SEQ
/var/lib/dhcpcd/x /var/lib/dovecot/d/x /etc/ipa/ca.crt.old /etc/krb5.keytab2 /etc/krb5.conf /etc/Pegasus/x.conf
/root/anaconda-ks.cfg2 /var/lib/logrotate/x /var/log/syslo /var/log/nginx/access.txt /var/log/apache2/access.txt
/var/log/postgresql/x /var/log/libvirt/x.txt /var/log/cups/other /var/log/ppp/other /var/log/httpd/other
/var/named/data/named.stats /var/log/.hidden.log /var/log/glusterfs/x.log /etc/lvm/lvm.conf /run/faillock/d/x
/run/console/.x /etc/passwd /var/lib/puppet/x /var/lib/puppet/a/b/c/d /var/lib/samba/a/b/c /var/lib/samba/.x
/etc/ssh/sshd_config /etc/ssh/host_key /home/ada/ssh/id_rsa /srv/svc/x/.ssh/y /var/lib/sss/db/d/x
/var/lib/sss/mc/passwd /etc/udev/rules.d/70-other.rules /var/lib/systemd/random-seed2
/var/lib/NetworkManager/secret_key /var/lib/rpm/Packages /var/cache/other/x /etc/pki/tls/private/x.key
/etc/pki/CA/private/x.key /var/kerberos/krb5kdc/principal /etc/sysconfig/iptables /etc/firewalld/zones/public.xml
""")
# By guest.
DEBIAN_ONLY = ["/var/cache/apt/archives/x.deb", "/var/cache/apt/archives/partial/y", "/var/log/account/pacct.0"]
REDHAT_ONLY = [
    "/etc/NetworkManager/system-connections/eth0.nmconnection", "/var/cache/dnf/x/y.rpm", "/var/lib/rpm/__db.001",
    "/var/account/pacct-1",
]  # fmt: skip
RHEL_ONLY = ["/etc/pki/consumer/cert.pem", "/etc/pki/entitlement/1.pem", "/etc/sysconfig/rhn/systemid"]
NOBODY = ["/var/cache/yum/x", "/var/cache/zypp/x", "/var/lib/yum/uuid", "/etc/NetworkManager/system-connections/eth1"]
IFCFG = "/etc/sysconfig/network-scripts/ifcfg-eth0"
IFCFG_TEXT = "DEVICE=eth0\nHWADDR=52:54:00:00:00:01\nDHCP_HOSTNAME=old\nUUID=1\nHOSTNAME=old\n HWADDR=x\nMACADDR=y\n"
IFCFG_SEALED = "DEVICE=eth0\nUUID=1\n HWADDR=x\nMACADDR=y\n"


@pytest.fixture
def guest(tmp_path: Path) -> Path:
    return tmp_path / "guest"


def planted(guest: Path, release: str) -> Path:
    make(guest, release)
    for path in [*REMOVED, *KEPT, *DEBIAN_ONLY, *REDHAT_ONLY, *RHEL_ONLY, *NOBODY]:
        if not (guest / path[1:]).exists():
            plant(guest, path)
    plant(guest, IFCFG, IFCFG_TEXT)
    plant(guest, "/etc/machine-id", "0123456789abcdef0123456789abcdef\n").chmod(0o444)
    (guest / "var/lib/dbus").mkdir()
    (guest / "var/lib/dbus/machine-id").symlink_to("/etc/machine-id")
    plant(guest, "/etc/hostname", "old\n")
    plant(guest, "/etc/hosts", "127.0.0.1 localhost\n127.0.1.1\told.example.com old  # old\n10.0.0.1 older old.\n")
    (guest / "var/log/account/d").mkdir(parents=True, exist_ok=True)
    return guest


@pytest.mark.parametrize(
    ("release", "gone", "stays"),
    [
        (DEBIAN, DEBIAN_ONLY, [*REDHAT_ONLY, *RHEL_ONLY, *NOBODY]),
        (RHEL, [*REDHAT_ONLY, *RHEL_ONLY], [*DEBIAN_ONLY, *NOBODY]),
        (ROCKY, REDHAT_ONLY, [*DEBIAN_ONLY, *RHEL_ONLY, *NOBODY]),
    ],
    ids=["Debian", "RHEL", "Rocky"],
)
def test_exactly_what_the_operations_name_is_removed(
    guest: Path, release: str, gone: list[str], stays: list[str]
) -> None:
    before = listing(planted(guest, release))
    seal(guest)
    after = listing(guest)
    assert [path for path in [*REMOVED, *gone] if path in after] == []
    assert [path for path in [*KEPT, *stays] if path not in after] == []
    # Beyond that only folders are gone, those of trees that were removed, and only these files are new.
    assert [
        path for path in before if path not in after and before[path] != b"/" and path not in [*REMOVED, *gone]
    ] == []
    new = {path for path in after if path not in before}
    unit = "vmseal-ssh-hostkeys.service"
    assert {path for path in new if "/etc/systemd" not in path} == (
        {"/var/log/account/pacct"} if release == DEBIAN else {"/var/account/pacct", "/etc/machine-info"}
    )
    assert after[f"/etc/systemd/system/ssh.service.wants/{unit}"] == f"-> /etc/systemd/system/{unit}".encode()


def test_contents_on_debian(guest: Path) -> None:
    seal(planted(guest, DEBIAN))
    after = listing(guest)
    assert after["/etc/machine-id"] == b""
    assert after["/var/lib/dbus/machine-id"] == b"-> /etc/machine-id"
    assert (guest / "etc/machine-id").stat().st_mode & 0o777 == 0o444
    assert after["/var/spool/atjobs/.SEQ"] == b"00000\n"
    assert after["/etc/hostname"] == b"localhost\n"
    hosts = b"127.0.0.1 localhost\n127.0.1.1\told.example.com localhost  # localhost\n10.0.0.1 older old.\n"
    assert after["/etc/hosts"] == hosts
    assert after[IFCFG] == IFCFG_TEXT.encode()


@pytest.mark.parametrize("release", [RHEL, ROCKY], ids=["RHEL", "Rocky"])
def test_contents_on_the_red_hat_family(guest: Path, release: str) -> None:
    seal(planted(guest, release))
    after = listing(guest)
    assert after[IFCFG] == IFCFG_SEALED.encode()
    assert after["/etc/machine-info"] == b"PRETTY_HOSTNAME=localhost\n"
    assert after["/etc/hostname"] == b"localhost\n"
    assert after["/etc/hosts"].count(b"old") == 5


@pytest.mark.parametrize("release", [DEBIAN, RHEL], ids=["Debian", "RHEL"])
def test_the_second_seal_changes_nothing(guest: Path, release: str) -> None:
    seal(planted(guest, release))
    after = listing(guest)
    again = seal(guest)
    assert listing(guest) == after
    assert {report.name for report in again if report.removed or report.changed} <= {"pacct-log"}  # made anew each time


@pytest.mark.parametrize("release", [DEBIAN, RHEL], ids=["Debian", "RHEL"])
def test_a_dry_run_lists_what_the_seal_then_does_and_changes_nothing(guest: Path, release: str) -> None:
    before = listing(planted(guest, release))
    planned = seal(guest, dry_run=True)
    assert listing(guest) == before
    done = seal(guest)
    assert [(report.name, report.paths, report.bytes) for report in planned] == [
        (report.name, report.paths, report.bytes) for report in done
    ]


@pytest.mark.parametrize("name", [operation.name for operation in load() if not operation.on_devices])
def test_each_operation_alone_can_run_twice(guest: Path, name: str) -> None:
    planted(guest, DEBIAN)
    plant(guest, "/etc/login.defs", "UID_MIN 1000\nUID_MAX 60000\n")
    seal(guest, name)
    after = listing(guest)
    seal(guest, name)
    assert listing(guest) == after


def test_the_links_of_a_hostile_guest_lead_nowhere(guest: Path) -> None:
    planted(guest, RHEL)
    for folder in ("tmp", "var/log/journal", "var/spool/mail", "var/crash", "var/lib/dhcp", "var/lib/samba", "var/mail",
                   "var/lib/puppet", "var/spool/abrt", "etc/pki/consumer", "var/lib/dovecot", "home"):  # fmt: skip
        (guest / folder / "relative").symlink_to("../../../etc")
        (guest / folder / "absolute").symlink_to("/etc")
    (guest / "home/ada/.ssh/id_rsa").unlink()
    (guest / "home/ada/.ssh").rmdir()
    (guest / "home/ada/.ssh").symlink_to("/etc")
    (guest / "var/spool/cron/link").symlink_to("/etc")
    seal(guest)
    assert [path for path in KEPT if path not in listing(guest)] == []
    assert not (guest / "home/ada/.ssh").is_symlink()


def test_with_absolute_links_for_folders_the_same_goes(guest: Path) -> None:
    planted(guest, DEBIAN)
    for folder in ("var/log", "var/lib", "home", "root", "var/spool"):
        target = guest / "data" / folder
        target.parent.mkdir(parents=True, exist_ok=True)
        (guest / folder).rename(target)
        (guest / folder).symlink_to(f"/data/{folder}")
    seal(guest)
    # What is removed by walking down a folder does not go through links, as with virt-sysprep.
    others = [path for path in REMOVED if not path.endswith((".bak", "~"))]
    left = [path for path in others if (guest / "data" / path[1:]).exists() or (guest / path[1:]).exists()]
    assert left == []
