"""The options that virt-sysprep gets for a guest."""

from __future__ import annotations

import itertools
from pathlib import Path

from vmseal.seal.report import GuestSystem
from vmseal.sealers.customization import RANDOM_SEEDS, options
from vmseal.sealers.inspection import Inspection


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


def test_machine_id_is_emptied_last(tmp_path: Path) -> None:
    assert options(inspection(), "localhost", tmp_path)[-2:] == ["--truncate", "/etc/machine-id"]


def test_a_machine_id_that_is_no_file_is_left_alone(tmp_path: Path) -> None:
    assert "--truncate" not in options(inspection(machine_id=False), "localhost", tmp_path)


def test_host_name_and_relabel_are_those_of_vdsm(tmp_path: Path) -> None:
    assert options(inspection(), "sealed", tmp_path)[:3] == ["--hostname", "sealed", "--selinux-relabel"]


def test_host_name_is_written_where_virt_sysprep_cannot(tmp_path: Path) -> None:
    assert "/etc/hostname:sealed\n" in options(inspection(distro="alpinelinux"), "sealed", tmp_path)
    assert "--write" not in options(inspection(), "sealed", tmp_path)


def test_all_random_seeds_are_deleted(tmp_path: Path) -> None:
    chosen = options(inspection(), "localhost", tmp_path)
    deleted = {path for word, path in itertools.pairwise(chosen) if word == "--delete"}
    assert deleted >= set(RANDOM_SEEDS)


def test_first_boot_unit_is_uploaded_and_enabled(tmp_path: Path) -> None:
    chosen = options(inspection(), "localhost", tmp_path)
    name = "vmseal-ssh-hostkeys.service"
    folder = "/etc/systemd/system"
    upload = chosen.index(f"{tmp_path / name}:{folder}/{name}")
    assert chosen.index(f"{folder}/multi-user.target.wants") < upload  # which makes the folder of the unit as well
    assert f"0644:{folder}/{name}" in chosen
    assert f"{folder}/{name}:{folder}/multi-user.target.wants/{name}" in chosen
    assert "ExecStart=/usr/bin/ssh-keygen -A\n" in (tmp_path / name).read_text()


def test_no_first_boot_unit_where_it_is_not_needed_or_would_not_run(tmp_path: Path) -> None:
    for guest in (inspection(own_keys=True), inspection(ssh=False), inspection(systemd=False)):
        assert "--upload" not in options(guest, "localhost", tmp_path)
