"""LUKS: which key is for which device, and what opening one takes."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest

from vmseal.seal import luks
from vmseal.seal.devices import BlockDevice
from vmseal.seal.errors import SealRefused
from vmseal.seal.luks import Key, keys_from, memory_needed, open_device
from vmseal.seal.probe import Superblock

UUID = "0a1b2c3d-1111-4222-8333-444455556666"
DEVICE = BlockDevice(name="sda2", path=Path("/dev/sda2"), size=1, superblock=Superblock(type="crypto_LUKS", uuid=UUID))


@pytest.mark.parametrize("selector", ["all", "/dev/sda2", UUID, UUID.upper(), f"UUID={UUID}"])
def test_a_key_is_for_a_device_by_name_uuid_or_for_all(selector: str) -> None:
    assert Key(selector, b"x").fits(DEVICE)


def test_a_key_for_another_device_is_not_tried() -> None:
    assert open_device(DEVICE, [Key("/dev/sda3", b"x")]) is None


def test_keys_come_in_base64_and_are_never_shown() -> None:
    (key,) = keys_from([{"selector": "all", "key": base64.b64encode(b"\x00pass\n").decode()}])
    assert key.key == b"\x00pass\n"
    assert "pass" not in repr(key)
    with pytest.raises(SealRefused) as refused:
        keys_from([{"selector": "all", "key": "secret!"}])
    assert "secret!" not in refused.value.message


def formatted(path: Path, *options: str) -> Path:
    with path.open("wb") as file:
        file.truncate(32 << 20)
    command = ["/usr/sbin/cryptsetup", "luksFormat", "-q", "--key-file", "-", *options, str(path)]
    subprocess.run(command, input=b"x", check=True, capture_output=True)
    return path


def test_the_memory_that_opening_takes_is_in_the_header(tmp_path: Path) -> None:
    cheap = ("--pbkdf-force-iterations", "4", "--pbkdf-memory", "65536")
    assert memory_needed(formatted(tmp_path / "2", "--type", "luks2", "--pbkdf", "argon2id", *cheap)) == 64 << 20
    assert memory_needed(formatted(tmp_path / "1", "--type", "luks1", "--pbkdf-force-iterations", "1000")) == 0
    assert memory_needed(tmp_path / "missing") == 0


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"keyslots": {"0": 5}}', '{"keyslots": {"0": {"kdf": {"memory": "x"}}}}']
)
def test_a_damaged_header_takes_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "luks"
    path.write_bytes((b"LUKS\xba\xbe\0\x02" + (16384).to_bytes(8, "big")).ljust(4096, b"\0") + text.encode())
    assert memory_needed(path) == 0


def test_where_the_memory_does_not_suffice_it_is_refused_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "luks"
    text = b'{"keyslots": {"0": {"kdf": {"type": "argon2id", "memory": 1048576}}, "1": {"kdf": {"type": "pbkdf2"}}}}'
    path.write_bytes((b"LUKS\xba\xbe\0\x02" + (16384).to_bytes(8, "big")).ljust(4096, b"\0") + text)
    (tmp_path / "meminfo").write_text("MemTotal: 250000 kB\nMemAvailable:  200000 kB\n")
    monkeypatch.setattr(luks, "MEMORY", tmp_path / "meminfo")
    device = BlockDevice(name="sda2", path=path, size=1, superblock=DEVICE.superblock)
    with pytest.raises(SealRefused, match="takes 1024 MiB of memory where the appliance has 195 MiB") as refused:
        open_device(device, [Key("all", b"x")])
    assert refused.value.reason == "encrypted-guest"
