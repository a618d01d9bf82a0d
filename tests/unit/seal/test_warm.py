"""What is prepared before the snapshot is what a seal looks for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.fakes.guest_tree import GuestTree

from vmseal.seal import catalogue, fstab, pattern
from vmseal.seal.guest import identify
from vmseal.seal.randomness import Randomness
from vmseal.seal.root import Root
from vmseal.seal.run import run
from vmseal.seal.settings import Settings
from vmseal.seal.warm import FILES, warm

DEBIAN = {
    "/bin/sh": "",
    "/boot/grub/grub.cfg": "linux /vmlinuz\n",
    "/etc/apt/sources.list.d/any.list": "deb any\n",
    "/etc/default/grub": "GRUB_DEFAULT=0\n",
    "/etc/environment": "any\n",
    "/etc/fstab": "UUID=1 / ext4 defaults 0 1\n",
    "/etc/os-release": "ID=debian\nVERSION_ID=12\n",
    "/usr/lib/systemd/systemd": "",
    "/usr/lib/systemd/system/ssh.service": "[Service]\n",
    "/var/lib/lightdm-data/any": "",
    "/var/log/any/any.log": "any",
}


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


def test_a_seal_makes_no_expression(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = GuestTree(tmp_path / "guest")
    for name, content in DEBIAN.items():
        tree.put(name, content)
    re.purge()
    for cached in (pattern._names, pattern._literal, pattern.expand, pattern._taken_apart):
        cached.cache_clear()
    warm(tmp_path / "warm")
    made: list[object] = []
    monkeypatch.setattr("re._compiler.compile", lambda expression, _flags: made.append(expression))
    fstab.parse(DEBIAN["/etc/fstab"])
    root = Root(tree.folder)
    guest, random = identify(root), Randomness(bytes(4096))
    run(root, guest, catalogue.own(), settings=Settings(), random=random, progress=lambda _part, _name: None)
    root.close()
    assert made == []
