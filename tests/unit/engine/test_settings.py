"""The engine's settings: what is refused, and from where they come."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from vmseal.engine.settings import EngineSettings, HostAddress

HOST = HostAddress(name="h1")


def test_plain_http_is_refused_where_other_machines_can_reach_it(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="VMSEAL_TLS_KEY"):
        EngineSettings(state=tmp_path, address="0.0.0.0")  # noqa: S104  the point of the test


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "localhost"])
def test_plain_http_is_allowed_on_loopback(tmp_path: Path, address: str) -> None:
    assert EngineSettings(state=tmp_path, address=address).address == address


def test_hosts_need_certificates_unless_they_are_local(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="VMSEAL_HOSTS_KEY"):
        EngineSettings(state=tmp_path, hosts=[HOST], storage_path=tmp_path)
    far = HostAddress(name="far", address="192.0.2.7")
    with pytest.raises(ValidationError, match="not for far"):
        EngineSettings(state=tmp_path, hosts=[HOST, far], storage_path=tmp_path, hosts_insecure=True)
    assert EngineSettings(state=tmp_path, hosts=[HOST], storage_path=tmp_path, hosts_insecure=True).hosts == [HOST]


def test_hosts_need_a_storage_path_and_names_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="VMSEAL_STORAGE_PATH"):
        EngineSettings(state=tmp_path, hosts=[HOST], hosts_insecure=True)
    with pytest.raises(ValidationError, match="twice"):
        EngineSettings(state=tmp_path, hosts=[HOST, HOST], storage_path=tmp_path, hosts_insecure=True)


def test_unknown_settings_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="prot"):
        EngineSettings(state=tmp_path, prot=1)  # type: ignore[call-arg]  # the point of the test


def test_settings_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMSEAL_STATE", str(tmp_path))
    monkeypatch.setenv("VMSEAL_HOSTS", '[{"name": "h1", "port": 4711}]')
    monkeypatch.setenv("VMSEAL_HOSTS_INSECURE", "true")
    monkeypatch.setenv("VMSEAL_STORAGE_PATH", str(tmp_path / "domain"))
    settings = EngineSettings()
    assert settings.hosts == [HostAddress(name="h1", port=4711)]
    assert settings.url_of_database == f"sqlite:///{tmp_path}/engine/vmseal.db"
