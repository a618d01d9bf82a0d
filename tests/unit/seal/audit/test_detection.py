"""What is planted in a clean guest is found, each thing under its name."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from tests.unit.seal.audit.planted import Plant, everything
from tests.unit.seal.audit.rig import audit, names_at, planted
from tests.unit.seal.guests import clean

from vmseal.seal import catalogue
from vmseal.seal.audit import Severity, rules
from vmseal.seal.audit.traces import LEFT_OUT

PLANTS = everything()


@pytest.fixture(scope="module")
def guests(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("guests")
    releases = sorted({plant.release for plant in PLANTS})
    return {release: clean(folder / str(number), release) for number, release in enumerate(releases)}


def test_a_clean_guest_has_no_findings(guests: dict[str, Path]) -> None:
    assert {release: audit(guest) for release, guest in guests.items()} == {release: [] for release in guests}


def test_at_least_98_of_100_plants_are_found_each_with_its_name(guests: dict[str, Path]) -> None:
    missed = [plant for plant in PLANTS if plant.name not in _names(plant, guests[plant.release])]
    assert len(PLANTS) >= 300
    assert len(missed) <= len(PLANTS) * 0.02, missed


def _names(plant: Plant, guest: Path) -> set[str]:
    with planted(plant, guest) as findings:
        return names_at(findings, "/etc/ssh" if plant.name == "ssh-first-boot" else plant.path)


def test_the_plants_are_of_every_operation_and_every_rule() -> None:
    planted = Counter(plant.name for plant in PLANTS)
    bundles = {"customize"}  # found as random-seed, hostname and ssh-first-boot
    operations = {
        operation.name.removesuffix("-kept")
        for operation in catalogue.own()
        if not operation.on_devices and operation.name not in LEFT_OUT | bundles
    }
    assert operations - set(planted) == set()
    assert {rule.name for rule in rules.every()} - set(planted) == set()


def test_keys_tokens_and_hashes_in_odd_places_are_of_severity_high(guests: dict[str, Path]) -> None:
    kinds = {rule.name: rule.severity for rule in rules.every() if rule.severity is Severity.HIGH}
    for plant in [plant for plant in PLANTS if plant.name in kinds][::7]:
        with planted(plant, guests[plant.release]) as findings:
            severities = {finding.severity for finding in findings if finding.path == plant.path}
        assert severities == {Severity.HIGH}, plant
