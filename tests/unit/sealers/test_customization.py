"""The options that virt-sysprep gets for a guest."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from vmseal.seal.report import GuestSystem
from vmseal.seal.settings import MachineId
from vmseal.sealers.customization import RANDOM_SEEDS, options, require_possible
from vmseal.sealers.inspection import Inspection
from vmseal.sealers.sealer import DiskKey, RequestNotPossible, SealRequest


def inspection(
    *,
    distro: str = "debian",
    machine_id: bool = True,
    ssh: bool = True,
    systemd: bool = True,
    own_keys: bool = False,
) -> Inspection:
    return Inspection(
        system=GuestSystem(root="/dev/sda1", type="linux", distro=distro, product="Linux"),
        machine_id_is_file=machine_id,
        ssh_server=ssh,
        systemd=systemd,
        makes_host_keys=own_keys,
    )


def request(hostname: str = "localhost", **given: Any) -> SealRequest:
    return SealRequest(name="disk", disks=(), hostname=hostname, **given)


def test_machine_id_is_emptied_last(tmp_path: Path) -> None:
    assert options(request("localhost"), inspection(), tmp_path)[-2:] == ["--truncate", "/etc/machine-id"]


def test_a_machine_id_that_is_no_file_is_left_alone(tmp_path: Path) -> None:
    assert "--truncate" not in options(request("localhost"), inspection(machine_id=False), tmp_path)


def test_host_name_and_relabel_are_those_of_vdsm(tmp_path: Path) -> None:
    assert options(request("sealed"), inspection(), tmp_path)[:3] == ["--hostname", "sealed", "--selinux-relabel"]


def test_host_name_is_written_where_virt_sysprep_cannot(tmp_path: Path) -> None:
    assert "/etc/hostname:sealed\n" in options(request("sealed"), inspection(distro="alpinelinux"), tmp_path)
    assert "--write" not in options(request("sealed"), inspection(), tmp_path)


def test_all_random_seeds_are_deleted(tmp_path: Path) -> None:
    chosen = options(request("localhost"), inspection(), tmp_path)
    deleted = {path for word, path in itertools.pairwise(chosen) if word == "--delete"}
    assert deleted >= set(RANDOM_SEEDS)


def test_first_boot_unit_is_uploaded_and_enabled(tmp_path: Path) -> None:
    chosen = options(request("localhost"), inspection(), tmp_path)
    name = "vmseal-ssh-hostkeys.service"
    folder = "/etc/systemd/system"
    upload = chosen.index(f"{tmp_path / name}:{folder}/{name}")
    assert chosen.index(f"{folder}/multi-user.target.wants") < upload  # which makes the folder of the unit as well
    assert f"0644:{folder}/{name}" in chosen
    assert f"{folder}/{name}:{folder}/multi-user.target.wants/{name}" in chosen
    assert "ExecStart=/usr/bin/ssh-keygen -A\n" in (tmp_path / name).read_text()


def test_no_first_boot_unit_where_it_is_not_needed_or_would_not_run(tmp_path: Path) -> None:
    for guest in (inspection(own_keys=True), inspection(ssh=False), inspection(systemd=False)):
        assert "--upload" not in options(request(), guest, tmp_path)


def test_a_selection_is_passed_on_and_brings_our_additions_only_with_customize(tmp_path: Path) -> None:
    chosen = options(request(operations=("defaults", "-logfiles")), inspection(), tmp_path)
    assert chosen[:4] == ["--operations", "defaults,-logfiles", "--hostname", "localhost"]
    assert options(request(operations=("logfiles",)), inspection(), tmp_path) == ["--operations", "logfiles"]


def test_a_machine_id_that_was_not_selected_is_left_alone(tmp_path: Path) -> None:
    chosen = options(request(operations=("all", "-machine-id")), inspection(), tmp_path)
    assert "--hostname" in chosen
    assert "--truncate" not in chosen


def test_what_only_virt_sysprep_understands_comes_before_what_vmseal_adds(tmp_path: Path) -> None:
    passed = ("--run-command", "touch /x")
    given = request(passed=passed, mount_options={"/": "noatime", "/boot": "ro"}, keep_users=("ann",))
    chosen = options(given, inspection(), tmp_path)
    assert chosen[:6] == [*passed, "--mount-options", "/:noatime;/boot:ro", "--keep-user-accounts", "ann"]
    assert chosen[-2:] == ["--truncate", "/etc/machine-id"]


def test_no_label_is_set_when_that_was_asked_for(tmp_path: Path) -> None:
    assert "--no-selinux-relabel" in options(request(selinux_relabel=False), inspection(), tmp_path)


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"profile": "thorough"}, "thorough"),
        ({"erase": True}, "erasing"),
        ({"machine_id": MachineId.UNINITIALIZED}, "uninitialized"),
        ({"keys": (DiskKey(selector="all", key=b"x"),)}, "keys"),
    ],
)
def test_what_virt_sysprep_cannot_do_is_refused(given: dict[str, Any], word: str) -> None:
    with pytest.raises(RequestNotPossible, match=word):
        require_possible(request(**given))


def test_what_virt_sysprep_does_anyway_is_not_refused() -> None:
    require_possible(request(profile="sysprep", erase=False, machine_id=MachineId.EMPTY))
