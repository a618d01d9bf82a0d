"""What is prepared before the snapshot is what a seal looks for."""

from __future__ import annotations

from pathlib import Path

from vmseal.seal import catalogue, pattern
from vmseal.seal.warm import FILES, warm


def test_no_expression_of_the_programs_catalogues_is_left_to_be_made(tmp_path: Path) -> None:
    warm(tmp_path)
    made = pattern._names.cache_info().misses
    for operation in catalogue.own():
        pattern.places(operation.remove, ["/root", "/home/a", "/srv/git"])
        pattern.places(operation.remove_files, ["/home/b"])
    assert pattern._names.cache_info().misses == made
    assert pattern._names.cache_info().currsize < pattern.CACHED


def test_a_system_is_sealed(tmp_path: Path) -> None:
    assert "root/.bash_history" in FILES
    warm(tmp_path)
    assert not (tmp_path / "root/.bash_history").exists()
    assert (tmp_path / "etc/passwd").exists()
