"""Catalogues: what is read, what is refused and where, and choosing among operations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vmseal.seal.catalogue import Condition, Kind, Operation, Profile, from_json, load, own_files, to_json
from vmseal.seal.errors import CatalogueError, UnknownOperation
from vmseal.seal.operations import find
from vmseal.seal.profile import enabled, listing, select, words_of

GOOD = """\
# An operation
[[operation]]
name = "one"
why = "because"
class = "log"
profile = "sysprep"
remove = ["/a/*"]

[[operation]]
name = "two"
why = "because"
class = "log"
profile = "default"
guest = { distro = ["debian"] }
write = [{ path = "/x", content = "y", mode = "0600" }]
"""
VIRT_SYSPREP = """
abrt-data backup-files bash-history blkid-tab ca-certificates crash-data cron-spool customize dhcp-client-state
dhcp-server-state dovecot-data firewall-rules flag-reconfiguration fs-uuids ipa-client kerberos-data kerberos-hostkeytab
logfiles lvm-system-devices lvm-uuids machine-id mail-spool net-hostname net-hwaddr net-nmconn pacct-log
package-manager-cache pam-data passwd-backups puppet-data-log rh-subscription-manager rhn-systemid rpm-db samba-db-log
script smolt-uuid ssh-hostkeys ssh-userdir sssd-db-log tmp-files udev-persistent-net user-account utmp yum-uuid
zsh-history
"""
NOT_DEFAULT = {"ca-certificates", "firewall-rules", "flag-reconfiguration", "fs-uuids", "kerberos-data", "user-account"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "own.toml"


def test_a_catalogue_is_read(file: Path) -> None:
    file.write_text(GOOD)
    one, two = load([file])
    assert (one.name, one.kind, one.profile, one.remove) == ("one", Kind.LOG, Profile.SYSPREP, ("/a/*",))
    assert two.guest == Condition(distro=("debian",))
    assert (two.write[0].mode, two.write[0].only_if) == (0o600, "always")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "two"', 'name = "one"', "own.toml:9: operation one is already defined in .*own.toml:2"),
        ('name = "two"', 'name = "Two"', "own.toml:10: operation Two: 'Two' is not a name"),
        ('profile = "default"', 'profile = "all"', "own.toml:13: operation two: profile is 'all'; there are sysprep"),
        ('class = "log"\nprofile = "d', 'class = "logs"\nprofile = "d', "own.toml:12: .*class is 'logs'"),
        ('remove = ["/a/*"]', 'remove = ["a/*"]', "own.toml:7: operation one: 'a/\\*' does not begin with /"),
        ('remove = ["/a/*"]', 'remove = ["/a/../b"]', "own.toml:7: .* is not a plain path"),
        ('remove = ["/a/*"]', 'remove = "/a"', "own.toml:7: .*not a list of texts"),
        ('remove = ["/a/*"]', 'removes = ["/a"]', "own.toml:7: .*removes is not known; there are name, why, class"),
        ('remove = ["/a/*"]', "", "own.toml:3: operation one: it does nothing"),
        ('remove = ["/a/*"]', 'report = ["/a"]', "own.toml:7: .*report_why is missing"),
        ('mode = "0600"', 'mode = "rw"', "own.toml:15: .*'rw' is not a mode"),
        ('path = "/x"', 'path = "/*"', "own.toml:15: .*is a pattern"),
        ("distro =", "distros =", "own.toml:14: .*distros is not known"),
        ('why = "because"\nclass = "log"\nprofile = "s', 'class = "log"\nprofile = "s', "own.toml:3: .*why is missing"),
        ("[[operation]]\nname = \"two\"", "[[operations]]\nname = \"two\"", "own.toml:9: operations is not known"),
        ('profile = "default"', 'profile = "default', "own.toml:13: "),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_file_and_line(file: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    file.write_text(GOOD.replace(old, new))
    with pytest.raises(CatalogueError, match=message):
        load([file])


def test_a_file_that_cannot_be_read_is_said(file: Path) -> None:
    with pytest.raises(CatalogueError, match=r"own.toml:1: cannot be read: .*No such file"):
        load([file])
    file.write_bytes(b"\xff")
    with pytest.raises(CatalogueError, match=r"own.toml:1: cannot be read"):
        load([file])


def test_the_catalogue_has_all_operations_of_virt_sysprep_with_its_defaults() -> None:
    sysprep = load([path for path in own_files() if path.name == "sysprep.toml"])
    assert {operation.name for operation in sysprep} == set(VIRT_SYSPREP.split())
    assert {operation.name for operation in sysprep if operation.profile is Profile.NONE} == NOT_DEFAULT
    assert {operation.profile for operation in sysprep} == {Profile.SYSPREP, Profile.NONE}


def test_operations_run_alphabetically_then_customize_then_those_on_devices() -> None:
    names = [operation.name for operation in load() if operation.profile is Profile.SYSPREP]
    assert names[:-2] == sorted(names[:-2])
    assert names[-2:] == ["customize", "lvm-uuids"]


@pytest.mark.parametrize("operation", load(), ids=lambda operation: operation.name)
def test_each_operation_survives_the_trip_as_json_and_has_its_code(operation: Operation) -> None:
    assert from_json(json.loads(json.dumps(to_json(operation)))) == operation
    assert operation.code is None or operation.on_devices or callable(find(operation.code))


def test_json_that_is_no_operation_is_refused() -> None:
    with pytest.raises(CatalogueError, match=r"operation x: .*why is missing"):
        from_json({"name": "x", "remove": ["/x"]})


# ------------------------------------------------------------- choosing


def chosen(*words: str) -> list[str]:
    return [operation.name for operation in select(load(), "sysprep", words)]


def test_words_are_taken_from_left_to_right_and_begin_with_nothing() -> None:
    assert chosen("utmp", "-utmp", "tmp-files", "logfiles") == ["logfiles", "tmp-files"]
    assert set(chosen("defaults", "-logfiles", "firewall-rules")) == (
        set(VIRT_SYSPREP.split()) - NOT_DEFAULT - {"logfiles"} | {"firewall-rules"}
    )
    assert chosen("all", "-defaults", "-all", "utmp") == ["utmp"]
    assert len(chosen("all")) == len(load())
    assert chosen("-all") == []


def test_each_profile_holds_the_one_before() -> None:
    sets = [{operation.name for operation in select(load(), name)} for name in ("sysprep", "default", "thorough")]
    assert sets[0] < sets[1] < sets[2]


@pytest.mark.parametrize("word", ["utmpp", "-utmpp", "default"])
def test_an_unknown_operation_is_refused_with_those_there_are(word: str) -> None:
    with pytest.raises(UnknownOperation, match=r"is not a known operation; there are .*abrt-data.*zsh-history"):
        chosen(word)


def test_an_unknown_profile_and_empty_words_are_refused() -> None:
    with pytest.raises(UnknownOperation, match="there is no profile 'all'; there are sysprep, default, thorough"):
        select(load(), "all")
    for text in ("", "a,,b", "a,-"):
        with pytest.raises(UnknownOperation, match="empty operation name"):
            words_of(text)
    assert words_of("defaults,-utmp") == ["defaults", "-utmp"]


def test_enable_takes_names_only() -> None:
    assert enabled("utmp,logfiles", load()) == ["utmp", "logfiles"]
    for text in ("", "utmp,", "defaults", "-utmp"):
        with pytest.raises(UnknownOperation):
            enabled(text, load())


def test_the_listing_is_virt_syspreps() -> None:
    lines = listing(load(), "sysprep")
    assert "abrt-data * " in lines[0]
    assert any(line.startswith("firewall-rules   ") for line in lines)
    assert lines == sorted(lines)
