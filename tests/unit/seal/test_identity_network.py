"""Configuration of networks: what is the source card's goes, every other byte stays."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from tests.fakes.guest_tree import GuestTree, kept

from vmseal.seal.report import Action


@pytest.fixture
def tree(tmp_path: Path) -> GuestTree:
    return GuestTree(tmp_path / "guest")


IFCFG = """\
TYPE=Ethernet
# HWADDR=00:00:00:00:00:00
HWADDR="52:54:00:12:34:56"
UUID=0f1e2d3c-0000-4000-8000-000000000001
NAME=eth0
MACADDR=52:54:00:12:34:57
DHCP_HOSTNAME=build01
HWADDR_POLICY=no
IPADDR=10.0.0.5\r
ONBOOT=yes"""


def test_ifcfg_loses_the_card_and_keeps_every_other_byte(tree: GuestTree) -> None:
    file = tree.put("/etc/sysconfig/network-scripts/ifcfg-eth0", IFCFG, 0o640)
    tree.run("ifcfg-addresses")
    assert file.read_bytes() == (
        b"TYPE=Ethernet\n# HWADDR=00:00:00:00:00:00\nNAME=eth0\nHWADDR_POLICY=no\nIPADDR=10.0.0.5\r\nONBOOT=yes"
    )
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_ifcfg_keeps_words_in_place_of_addresses_and_uuids_that_others_name(tree: GuestTree) -> None:
    bond = "UUID=0f1e2d3c-0000-4000-8000-000000000001\nMACADDR=random\n"
    tree.put("/etc/sysconfig/network-scripts/ifcfg-bond0", bond)
    tree.put(
        "/etc/sysconfig/network-scripts/ifcfg-eth0", "MASTER_UUID=0f1e2d3c-0000-4000-8000-000000000001\nUUID=a-b\n"
    )
    tree.put("/etc/sysconfig/network/ifcfg-eth0", "BOOTPROTO='dhcp'\nLLADDR='52:54:00:12:34:56'\n")
    record = tree.run("ifcfg-addresses")
    assert tree.text("/etc/sysconfig/network-scripts/ifcfg-bond0") == bond
    assert set(kept(record)) == {"/etc/sysconfig/network-scripts/ifcfg-bond0"}
    assert "a-b" not in tree.text("/etc/sysconfig/network-scripts/ifcfg-eth0")
    assert tree.text("/etc/sysconfig/network/ifcfg-eth0") == "BOOTPROTO='dhcp'\n"


def test_a_link_file_for_the_sources_card_alone_goes(tree: GuestTree) -> None:
    tree.put("/etc/systemd/network/10-lan.link", "[Match]\nMACAddress=52:54:00:12:34:56\n[Link]\nName=lan0\n")
    record = tree.run("link-addresses")
    assert record.paths[0].action is Action.REMOVED


def test_a_link_file_with_other_conditions_loses_only_the_addresses(tree: GuestTree) -> None:
    tree.put(
        "/etc/systemd/network/10-lan.link",
        "[Match]\nPath=pci-0000:00:03.0\nMACAddress=52:54:00:12:34:56\n\n[Link]\nName=lan0\nMACAddress=52:54:00:00:00:01\n",
    )
    tree.run("link-addresses")
    assert tree.text("/etc/systemd/network/10-lan.link") == "[Match]\nPath=pci-0000:00:03.0\n\n[Link]\nName=lan0\n"


def test_a_network_file_by_address_is_reported_and_a_link_file_that_is_none_too(tree: GuestTree) -> None:
    tree.put("/etc/systemd/network/20.network", "[Match]\nMACAddress=52:54:00:12:34:56\n[Network]\nDHCP=yes\n")
    tree.put("/etc/systemd/network/21.network", "[Match]\nName=e*\n[Network]\nDHCP=yes\n")
    tree.put("/etc/systemd/network/10.link", "MACAddress 52:54:00:12:34:56\n")
    record = tree.run("link-addresses")
    assert set(kept(record)) == {"/etc/systemd/network/20.network", "/etc/systemd/network/10.link"}
    assert record.changed == record.removed == 0


NETPLAN = """\
# written by the installer
network:
  version: 2
  ethernets:
    enp1s0:
      dhcp4: true
      match:
        macaddress: "52:54:00:12:34:56"
      set-name: enp1s0
"""


def test_netplans_only_card_is_matched_by_name_from_now_on(tree: GuestTree) -> None:
    tree.put("/etc/netplan/50-cloud-init.yaml", NETPLAN)
    tree.run("netplan-addresses")
    expected = NETPLAN.replace('macaddress: "52:54:00:12:34:56"', 'name: "e*"')
    assert tree.text("/etc/netplan/50-cloud-init.yaml") == expected


def test_netplan_loses_an_address_beside_other_keys(tree: GuestTree) -> None:
    tree.put(
        "/etc/netplan/01.yaml",
        "network:\n  ethernets:\n    a:\n      match:\n        driver: virtio*\n        macaddress: 52:54:00:12:34:56\n"
        "      macaddress: 52:54:00:00:00:01\n      dhcp4: yes\n    b:\n      macaddress: random\n",
    )
    tree.run("netplan-addresses")
    assert tree.text("/etc/netplan/01.yaml") == (
        "network:\n  ethernets:\n    a:\n      match:\n        driver: virtio*\n      dhcp4: yes\n"
        "    b:\n      macaddress: random\n"
    )


TWO_CARDS = """\
network:
  ethernets:
    a:
      match:
        macaddress: 52:54:00:12:34:56
    b:
      match:
        macaddress: 52:54:00:12:34:57
"""


@pytest.mark.parametrize(
    "content",
    [
        "network: {ethernets: {a: {match: {macaddress: '52:54:00:12:34:56'}}}}\n",
        "network:\n  ethernets:\n    a:\n      match: {macaddress: '52:54:00:12:34:56'}\n",
        "match:\n  macaddress: 52:54:00:12:34:56\n",
        "macaddress: 52:54:00:12:34:56\n",
        "network:\n  ethernets:\n    a:\n      macaddress: 52:54:00:12:34:56\n",
        "network:\n  ethernets:\n    a: &x\n      match: &m\n        macaddress: 52:54:00:12:34:56\n    b: *x\n",
        TWO_CARDS,
    ],
)
def test_netplan_in_a_form_that_cannot_be_edited_is_left_and_reported(tree: GuestTree, content: str) -> None:
    tree.put("/etc/netplan/01.yaml", content)
    record = tree.run("netplan-addresses")
    assert tree.text("/etc/netplan/01.yaml") == content
    assert set(kept(record)) == {"/etc/netplan/01.yaml"}


def test_netplan_without_addresses_is_not_touched(tree: GuestTree) -> None:
    tree.put("/etc/netplan/01.yaml", "network:\n  # macaddress: no\n  ethernets: {}\n")
    record = tree.run("netplan-addresses")
    assert (record.changed, record.kept) == (0, [])


WIRED = """\
[connection]
id=lan
uuid=0f1e2d3c-0000-4000-8000-000000000001
type=ethernet
timestamp=1700000000

[ethernet]
mac-address=52:54:00:12:34:56
cloned-mac-address=stable
mac-address-blacklist=

[ipv4]
method=manual
address1=10.0.0.5/24,10.0.0.1
"""


def test_a_wired_profile_loses_what_is_the_sources_and_keeps_its_address(tree: GuestTree) -> None:
    tree.put("/etc/NetworkManager/system-connections/lan", WIRED)
    tree.run("networkmanager-profiles")
    assert tree.text("/etc/NetworkManager/system-connections/lan") == (
        "[connection]\nid=lan\ntype=ethernet\n\n[ethernet]\ncloned-mac-address=stable\nmac-address-blacklist=\n\n"
        "[ipv4]\nmethod=manual\naddress1=10.0.0.5/24,10.0.0.1\n"
    )


def test_profiles_with_passwords_go_unless_they_are_wired(tree: GuestTree) -> None:
    folder = "/etc/NetworkManager/system-connections"
    tree.put(f"{folder}/home.nmconnection", "[connection]\ntype=wifi\n[wifi-security]\npsk=secret\n")
    tree.put(f"{folder}/vpn", "[connection]\ntype=vpn\n[vpn-secrets]\nany=secret\n")
    tree.put(f"{folder}/open", "[connection]\ntype=wifi\n[wifi]\nssid=open\n")
    tree.put(f"{folder}/wired", "[connection]\ntype=ethernet\n[802-1x]\npassword=secret\n")
    record = tree.run("networkmanager-profiles")
    assert tree.names(folder) == ["open", "wired"]
    assert set(kept(record)) == {f"{folder}/wired"}


def test_a_profile_that_another_names_keeps_its_uuid(tree: GuestTree) -> None:
    folder = "/etc/NetworkManager/system-connections"
    tree.put(f"{folder}/bond0", "[connection]\nuuid=aaaa-bbbb\ntype=bond\n")
    tree.put(f"{folder}/port", "[connection]\nuuid=cccc-dddd\ntype=ethernet\nmaster=aaaa-bbbb\n")
    record = tree.run("networkmanager-profiles")
    assert "uuid=aaaa-bbbb" in tree.text(f"{folder}/bond0")
    assert "uuid" not in tree.text(f"{folder}/port")
    assert set(kept(record)) == {f"{folder}/bond0"}


def test_what_is_no_profile_is_left_and_reported(tree: GuestTree) -> None:
    tree.put("/etc/NetworkManager/system-connections/README", "uuid is important\n")
    record = tree.run("networkmanager-profiles")
    assert "line 1" in kept(record)["/etc/NetworkManager/system-connections/README"]
