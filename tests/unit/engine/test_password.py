"""The admin's password."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmseal.engine.password import admin_password
from vmseal.model.errors import VmsealError


def test_a_password_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    kept = tmp_path / "admin-password"
    made = admin_password(kept, None)
    assert made.is_new
    assert len(made.value) >= 20
    assert kept.stat().st_mode & 0o777 == 0o600
    again = admin_password(kept, None)
    assert (again.value, again.is_new) == (made.value, False)
    assert [path.name for path in tmp_path.iterdir()] == ["admin-password"]


def test_a_given_password_wins_and_is_not_copied(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.write_text("secret\n", encoding="utf-8")
    kept = tmp_path / "admin-password"
    assert admin_password(kept, given).value == "secret"
    assert not kept.exists()


def test_an_empty_or_unreadable_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    for given in (empty, tmp_path, tmp_path / "missing"):
        with pytest.raises(VmsealError, match=str(given)):
            admin_password(tmp_path / "kept", given)
