"""Secrets in configuration files, and what cloud-init, snmpd and boot loaders leave."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fakes.guest_tree import GuestTree, kept, with_cloud_init

MACHINE_ID = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def tree(tmp_path: Path) -> GuestTree:
    return GuestTree(tmp_path / "guest")


SECRETS = [
    (".npmrc", "//registry.example.com/:_authToken=npm_abcdef\n", "//r/:_authToken=${NPM_TOKEN}\nalways-auth=true\n"),
    (".pypirc", "[pypi]\nusername=__token__\npassword = pypi-abc\n", "[distutils]\nindex-servers=pypi\n"),
    (
        ".config/pip/pip.conf",
        "[global]\nindex-url=https://u:p4ss@repo/simple\n",
        "[global]\nindex-url=https://repo/simple\n",
    ),
    (".m2/settings.xml", "<server><password>s3cret</password></server>", "<!-- <password>repopwd</password> --><a/>"),
    (
        ".m2/settings-security.xml",
        "<passphrase>{abc=}</passphrase><password>x</password>",
        "<settings>${env.PW}</settings>",
    ),
    (".gradle/gradle.properties", "signing.password=abc\n", "org.gradle.daemon=true\n# password=abc\n"),
    (".docker/config.json", '{"auths": {"r": {"auth": "dTpw"}}}', '{"auths": {}, "credsStore": "secretservice"}'),
    (".my.cnf", "[client]\npassword='x'\n", "[client]\nuser=root\n"),
    (".yarnrc.yml", "npmAuthToken: abc\n", "nodeLinker: node-modules\n"),
    (".config/helm/registry/config.json", '{"auths": {"r": {"auth": "dTpw"}}}', '{"auths": {}}'),
]


@pytest.mark.parametrize(("name", "secret", "plain"), SECRETS)
def test_configuration_of_a_user_goes_only_with_a_secret_in_it(
    tree: GuestTree, name: str, secret: str, plain: str
) -> None:
    tree.put(f"/srv/git/{name}", secret)
    tree.put(f"/root/{name}", plain)
    record = tree.run("user-configuration-secrets")
    assert not tree.has(f"/srv/git/{name}")
    assert tree.text(f"/root/{name}") == plain
    assert set(kept(record)) == {f"/root/{name}"}


REPORTED = [
    ("/etc/iscsi/iscsid.conf", "node.session.auth.password = x\n", "#node.session.auth.password = x\n"),
    (
        "/etc/apt/sources.list",
        "deb https://u:p@repo/ bookworm main\n",
        "# deb https://u:p@repo/\ndeb http://deb/ a b\n",
    ),
    ("/etc/apt/sources.list.d/a.sources", "URIs: https://u:p@repo/\n", "URIs: https://repo/\n"),
    ("/etc/yum.repos.d/a.repo", "password=x\n", "#password=x\nbaseurl=https://repo/\n"),
    ("/etc/dnf/dnf.conf", "proxy_password=x\n", "proxy=http://proxy:3128\n"),
    ("/etc/environment", "https_proxy=http://u:p@proxy\n", "https_proxy=http://proxy\nMAIL=a@b\n"),
    ("/etc/sssd/sssd.conf", "ldap_default_authtok = x\n", "ldap_default_authtok_type = password\n"),
    ("/etc/newrelic-infra.yml", "license_key: x\n", "# license_key: x\n"),
    ("/etc/datadog-agent/datadog.yaml", "api_key: x\n", "api_key:\n"),
    ("/etc/libvirt/libvirtd.conf", 'host_uuid = "0"\n', '#host_uuid = "0"\n'),
]


@pytest.mark.parametrize(("path", "secret", "plain"), REPORTED)
def test_configuration_of_a_service_is_reported_only_with_a_secret(
    tree: GuestTree, path: str, secret: str, plain: str
) -> None:
    tree.put(path, plain)
    assert tree.run("configuration-secrets").kept == []
    tree.put(path, secret)
    record = tree.run("configuration-secrets")
    assert set(kept(record)) == {path}
    assert tree.text(path) == secret


SHADOW = """\
root:$y$j9T$abc:19000:0:99999:7:::
daemon:*:19000:0:99999:7:::
sshd:!!:19000::::::
locked:!$6$abc:19000::::::
none::19000::::::
old:x:19000:
"""


def test_users_with_passwords_are_named_locked_ones_too(tree: GuestTree) -> None:
    tree.put("/etc/shadow", SHADOW)
    assert kept(tree.run("password-hashes")) == {
        "/etc/shadow": "password hashes of root, locked: all clones share them; lock-passwords locks them"
    }


def test_locking_takes_the_hashes_away_and_nothing_else(tree: GuestTree) -> None:
    file = tree.put("/etc/shadow", SHADOW, 0o640)
    tree.put("/etc/gshadow", "adm:*::root\nsecret:$6$x:root:user\n")
    tree.run("lock-passwords")
    assert file.read_text() == SHADOW.replace("$y$j9T$abc", "!").replace("!$6$abc", "!")
    assert tree.text("/etc/gshadow") == "adm:*::root\nsecret:!:root:user\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert tree.run("password-hashes").kept == []


def test_what_cloud_init_writes_again_goes(tree: GuestTree) -> None:
    with_cloud_init(tree)
    tree.put("/etc/cloud/cloud.cfg.d/subiquity-disable-cloudinit-networking.cfg", "network: {config: disabled}\n")
    tree.run("cloud-init-configuration")
    assert not tree.has("/etc/netplan/50-cloud-init.yaml")
    assert tree.names("/etc/cloud/cloud.cfg.d") == ["05_logging.cfg"]


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: tree.at("/usr/bin/cloud-init").unlink(),
        lambda tree: tree.put("/etc/cloud/cloud-init.disabled", ""),
        lambda tree: tree.at("/etc/systemd/system/cloud-init.target.wants/cloud-init.service").unlink(),
    ],
)
def test_without_a_cloud_init_that_runs_all_stays_and_is_reported(
    tree: GuestTree, change: Callable[[GuestTree], object]
) -> None:
    change(with_cloud_init(tree))
    record = tree.run("cloud-init-configuration")
    assert record.removed == 0
    assert {"/etc/netplan/50-cloud-init.yaml", "/etc/cloud/cloud.cfg.d/99-installer.cfg"} <= set(kept(record))


def test_the_network_stays_where_cloud_init_does_not_configure_it(tree: GuestTree) -> None:
    with_cloud_init(tree).put("/etc/cloud/cloud.cfg.d/99-off.cfg", "network:\n  config: disabled\n")
    record = tree.run("cloud-init-configuration")
    assert tree.has("/etc/netplan/50-cloud-init.yaml")
    assert "99-off.cfg" in kept(record)["/etc/netplan/50-cloud-init.yaml"]
    assert not tree.has("/etc/cloud/cloud.cfg.d/99-installer.cfg")


def test_snmpd_loses_its_engine_id_and_the_users_of_that_id_are_reported(tree: GuestTree) -> None:
    content = "# persistent\nsetserialno 12\nengineBoots 7\noldEngineID 0x80001f8880\nusmUser 1 3 0x80001f8880 a\n"
    tree.put("/var/lib/snmp/snmpd.conf", content)
    record = tree.run("snmp-engine-id")
    expected = "# persistent\nsetserialno 12\nusmUser 1 3 0x80001f8880 a\n"
    assert tree.text("/var/lib/snmp/snmpd.conf") == expected
    assert set(kept(record)) == {"/var/lib/snmp/snmpd.conf"}


def test_boot_entries_of_the_old_id_are_reported_and_stay(tree: GuestTree) -> None:
    mine = [
        f"/boot/loader/entries/{MACHINE_ID}-6.1.0.conf",
        f"/efi/{MACHINE_ID}/6.1.0/linux",
        "/etc/kernel/entry-token",
    ]
    for path in [*mine, "/boot/loader/entries/debian-6.1.0.conf", "/boot/vmlinuz-6.1.0"]:
        tree.put(path, "x")
    tree.put("/boot/grub2/grubenv", "# GRUB Environment Block\nsaved_entry=x-6.1.0\n")
    tree.put("/boot/grub/grubenv", "# GRUB Environment Block\n#######\n")
    tree.put("/etc/default/grub", 'GRUB_CMDLINE_LINUX="resume=UUID=1 quiet"\n')
    record = tree.run("boot-entries")
    reported = {mine[0], f"/efi/{MACHINE_ID}", mine[2], "/boot/grub2/grubenv", "/etc/default/grub"}
    assert set(kept(record)) == reported
    assert record.changed == record.removed == 0


def test_the_id_that_boot_entries_are_named_after_becomes_the_token(tree: GuestTree) -> None:
    tree.put("/boot/loader/entries/debian-6.1.0.conf", "x")
    assert tree.run("kernel-entry-token").paths == []
    tree.put(f"/boot/loader/entries/{MACHINE_ID}-6.1.0.conf", "x")
    tree.put(f"/boot/{MACHINE_ID}/6.1.0/linux", "x")
    tree.run("kernel-entry-token")
    assert tree.text("/etc/kernel/entry-token") == f"{MACHINE_ID}\n"


def test_a_token_that_is_there_stays_and_several_ids_make_none(tree: GuestTree) -> None:
    tree.put(f"/boot/loader/entries/{MACHINE_ID}-6.1.0.conf", "x")
    tree.put("/etc/kernel/entry-token", "debian\n")
    assert tree.run("kernel-entry-token").paths == []
    tree.at("/etc/kernel/entry-token").unlink()
    tree.put(f"/efi/{'f' * 32}/linux", "x")
    assert len(tree.run("kernel-entry-token").warnings) == 1
    assert not tree.has("/etc/kernel/entry-token")
