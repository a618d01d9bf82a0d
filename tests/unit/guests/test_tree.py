"""Where the guests' packages come from."""

from __future__ import annotations

from pathlib import Path

import pytest
from guests.recipes import Suite
from guests.tree import NoPackageSourceError, key, package_sources

DEB822 = """# a comment
Types: deb deb-src
# another one
URIs: http://mirror.example/debian http://second.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/node
Suites: nodistro
Components: main

Types: deb-src
URIs: http://mirror.example/debian
Suites: bookworm
Components: main

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
"""


def test_deb822_sources_of_the_suite_are_taken(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / "debian.sources").write_text(DEB822)
    signed = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    assert package_sources(tmp_path) == [
        f"deb {signed} http://mirror.example/debian bookworm main contrib",
        f"deb {signed} http://mirror.example/debian bookworm-updates main contrib",
        f"deb {signed} http://second.example/debian bookworm main contrib",
        f"deb {signed} http://second.example/debian bookworm-updates main contrib",
    ]


def test_one_line_sources_of_the_suite_are_taken_as_they_are(tmp_path: Path) -> None:
    line = "deb [arch=amd64 trusted=yes] http://mirror.example/debian bookworm main"
    (tmp_path / "sources.list").write_text(
        f"# deb http://off.example/debian bookworm main\n{line}\ndeb http://mirror.example/debian trixie main\n"
        "deb http://mirror.example/debian bookworm contrib\n"
    )
    assert package_sources(tmp_path) == [line]


def test_other_releases_come_from_where_those_of_debian_12_do(tmp_path: Path) -> None:
    signed = "[signed-by=/usr/share/bookworm.gpg]"
    lines = [
        f"deb {signed} http://mirror.example/debian bookworm main",
        "deb http://bookworm.example/debian bookworm-security/ main",
    ]
    (tmp_path / "sources.list").write_text("\n".join(lines))
    assert package_sources(tmp_path, Suite.TRIXIE) == [
        f"deb {signed} http://mirror.example/debian trixie main",
        "deb http://bookworm.example/debian trixie-security/ main",
    ]


def test_a_source_of_the_release_itself_is_taken_where_there_is_one(tmp_path: Path) -> None:
    line = "deb http://archive.example/debian bullseye main"
    (tmp_path / "sources.list").write_text(f"deb http://mirror.example/debian bookworm main\n{line}\n")
    assert package_sources(tmp_path, Suite.BULLSEYE) == [line]


def test_each_release_has_a_tree_of_its_own_in_the_cache() -> None:
    assert len({key(suite) for suite in Suite}) == len(Suite)


def test_a_machine_without_a_source_is_told_what_to_add(tmp_path: Path) -> None:
    with pytest.raises(NoPackageSourceError, match="deb MIRROR bookworm main"):
        package_sources(tmp_path)
