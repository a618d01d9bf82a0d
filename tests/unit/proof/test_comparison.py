"""What counts as two machines."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vmseal.proof.comparison import compare, newly_failed
from vmseal.seal.identities import FirstBoot, IdentitiesReport

ONE = {"machine-id": "1" * 32, "hostname": "localhost", "ssh-host-key rsa": "SHA256:a", "random-seed": "sha256:a"}
TWO = {"machine-id": "2" * 32, "hostname": "localhost", "ssh-host-key rsa": "SHA256:b", "random-seed": "sha256:b"}
EMPTY = IdentitiesReport(product="Debian", identities={"hostname": "localhost"})


def guest(identities: dict[str, str], files: dict[str, str] | None = None) -> IdentitiesReport:
    return IdentitiesReport(product="Debian", identities=identities, files=files or {})


def test_two_machines_of_a_sealed_template_pass() -> None:
    result = compare([guest(ONE), guest(TWO)], EMPTY)
    assert result.reasons == ()
    assert (result.shared, result.equal_to_template, result.equal_to_source) == ((), (), ())


@pytest.mark.parametrize("name", ["machine-id", "ssh-host-key rsa", "random-seed", "nvme-hostnqn", "dhcp-duid"])
def test_what_both_clones_have_alike_is_shared(name: str) -> None:
    result = compare([guest({**ONE, name: "3" * 32}), guest({**TWO, name: "3" * 32})], EMPTY)
    assert result.shared == (name,)
    assert result.equal_to_template == ()
    assert len(result.reasons) == 1
    assert name in result.reasons[0]


def test_a_fixed_machine_id_is_the_first_reason_and_says_what_to_do() -> None:
    fixed = {"machine-id": "3" * 32, "dbus-machine-id": "3" * 32}
    result = compare([guest({**ONE, **fixed}), guest({**TWO, **fixed})], guest(fixed))
    assert result.shared == ("machine-id", "dbus-machine-id")
    assert result.equal_to_template == ("machine-id", "dbus-machine-id")
    assert result.reasons[0].startswith(f"machine-id is fixed in the template: both clones have {'3' * 32}")
    assert "/etc/machine-id must be empty" in result.reasons[0]


def test_one_clone_alone_can_have_the_templates() -> None:
    result = compare([guest({**ONE, "hostid": "x"}), guest(TWO)], guest({"hostid": "x"}))
    assert result.shared == ()
    assert result.equal_to_template == ("hostid",)
    assert result.reasons == ("a clone has the hostid of the template: x",)


@pytest.mark.parametrize("machine_id", [None, "0" * 32])
def test_a_clone_without_a_machine_id_does_not_pass(machine_id: str | None) -> None:
    other = {name: value for name, value in TWO.items() if name != "machine-id"}
    clone = other if machine_id is None else {**other, "machine-id": machine_id}
    assert compare([guest(ONE), guest(clone)], EMPTY).reasons == ("clone 2 has no machine id after its first boot",)


@pytest.mark.parametrize(("name", "passes"), [("localhost", True), ("localhost.localdomain", True), ("lilac", False)])
def test_a_host_name_that_is_one_may_not_be_shared(name: str, passes: bool) -> None:
    result = compare([guest({**ONE, "hostname": name}), guest({**TWO, "hostname": name})], guest({"hostname": name}))
    assert (result.reasons == ()) is passes


def test_what_is_allowed_may_be_shared() -> None:
    clones = [guest({**ONE, "hostname": "lilac"}), guest({**TWO, "hostname": "lilac"})]
    assert compare(clones, guest({"hostname": "lilac"}), allowed={"hostname"}).reasons == ()


@pytest.mark.parametrize("name", ["random-seed", "random-seed /etc/random-seed", "boot-loader-seed"])
def test_a_templates_random_seed_is_shared_although_each_clone_has_replaced_it(name: str) -> None:
    result = compare([guest(ONE), guest(TWO)], guest({name: "sha256:c"}))
    assert result.shared == (name,)
    assert "all clones start" in result.reasons[0]
    assert "sha256:c" in result.reasons[0]


def test_the_source_is_compared_where_it_is_known() -> None:
    source = guest({"machine-id": "1" * 32, "hostname": "localhost"})
    result = compare([guest(ONE), guest(TWO)], EMPTY, source)
    assert result.equal_to_source == ("machine-id",)
    assert "source" in result.reasons[0]


def test_a_file_of_the_catalogue_counts_where_the_template_has_it() -> None:
    files = {"cluster-ids /var/lib/mysql/auto.cnf": "sha256:d"}
    clones = [guest(ONE, files), guest(TWO, files)]
    assert compare(clones, guest({}, files)).shared == tuple(files)
    assert compare(clones, EMPTY).reasons == ()  # both made it anew, such as a lease of the same address


def test_a_file_with_a_name_of_its_own_is_told_of_once() -> None:
    key, digest = "networkmanager-key", "sha256:d"
    files = {"networkmanager-state /var/lib/NetworkManager/secret_key": digest}
    clones = [guest({**one, key: digest}, files) for one in (ONE, TWO)]
    assert compare(clones, guest({key: digest}, files)).shared == (key,)


def test_units_that_are_known_to_fail_do_not_count() -> None:
    clone = replace(guest(ONE), first_boot=FirstBoot(ended=True, failed_units=("a.service", "b.service")))
    assert newly_failed([clone, guest(TWO)], {"b.service"}) == ("a.service",)
