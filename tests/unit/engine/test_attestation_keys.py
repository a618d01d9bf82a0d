"""The engine's keys: for their owner only, known to all engines of a database, whole wherever a rotation is cut off."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from vmseal.engine import attestation_keys as module
from vmseal.engine.attestation_keys import FILE, NEXT, NoKey, ensure, rotate, signing_key, trusted_keys
from vmseal.engine.database import Database
from vmseal.engine.requests import Caller, Refusal
from vmseal.engine.tables import AttestationKey, Base, now

CALLER = Caller("admin@internal", "c")


class Killed(BaseException):
    """Ends the engine in the middle."""


@pytest.fixture
def database(tmp_path: Path) -> Database:
    made = Database(f"sqlite:///{tmp_path / 'test.db'}")
    Base.metadata.create_all(made.engine)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "engine"
    path.mkdir()
    return path


def current(database: Database, folder: Path) -> str:
    with database.session() as session:
        return signing_key(session, folder).public.id


def rows(database: Database) -> dict[str, bool]:
    """Return the ids of all keys, and whether they are retired."""
    with database.read() as session:
        return {row.id: row.retired is not None for row in session.scalars(sa.select(AttestationKey))}


def test_the_first_start_makes_a_key_for_its_owner_only_and_later_ones_keep_it(
    database: Database, folder: Path
) -> None:
    key = ensure(database, folder)
    assert stat.S_IMODE((folder / FILE).stat().st_mode) == 0o600
    assert (ensure(database, folder), current(database, folder), rows(database)) == (key, key, {key: False})
    private = (folder / FILE).read_text().splitlines()[1]
    with database.read() as session:
        assert private not in str(session.execute(sa.text("SELECT * FROM attestation_key")).all())


def test_a_rotation_retires_the_old_key_which_stays_trusted(database: Database, folder: Path) -> None:
    old = ensure(database, folder)
    rotated = rotate(database, folder, CALLER)
    assert rotated.old == old
    assert rows(database) == {old: True, rotated.new: False}
    assert current(database, folder) == ensure(database, folder) == rotated.new
    assert not (folder / NEXT).exists()
    assert stat.S_IMODE((folder / FILE).stat().st_mode) == 0o600
    with database.read() as session:
        assert [key.id for key in trusted_keys(session)] == [old, rotated.new]


def test_several_engines_have_a_key_each_and_know_all(database: Database, folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    first, second = ensure(database, folder), ensure(database, other)
    assert first != second
    rotate(database, other, CALLER)
    assert current(database, folder) == first
    with database.read() as session:
        assert {key.id for key in trusted_keys(session)} == set(rows(database))
        assert len(trusted_keys(session)) == 3


def killed(*_: object, **__: object) -> None:
    raise Killed


@pytest.mark.parametrize("at", ["_write", "_add", "record", "_put_in_place"])
def test_a_rotation_that_is_cut_off_leaves_one_key_that_signs(
    database: Database, folder: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    old = ensure(database, folder)
    with monkeypatch.context() as patched:
        patched.setattr(module, at, killed)
        with pytest.raises(Killed):
            rotate(database, folder, CALLER)
    kept = current(database, folder)  # what signs before the restart
    assert kept == ensure(database, folder) == current(database, folder)
    assert (kept == old) is (at != "_put_in_place")
    assert [key for key, retired in rows(database).items() if not retired] == [kept]
    again = rotate(database, folder, CALLER)
    assert (again.old, current(database, folder)) == (kept, again.new)


def test_a_first_start_that_is_cut_off_is_done_again(
    database: Database, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(module, "_add", killed)
        with pytest.raises(Killed):
            ensure(database, folder)
    assert rows(database) == {}
    assert ensure(database, folder) == current(database, folder)


def lose(path: Path) -> None:
    path.unlink()


def damage(path: Path) -> None:
    path.write_text("no key")


@pytest.mark.parametrize(("happen", "words"), [(lose, "restart it"), (damage, "remove the file")])
def test_a_lost_or_damaged_key_says_what_to_do_and_a_new_one_is_made(
    database: Database, folder: Path, happen: Callable[[Path], None], words: str
) -> None:
    old = ensure(database, folder)
    happen(folder / FILE)
    with pytest.raises(NoKey, match=words):
        current(database, folder)
    with pytest.raises(NoKey):
        rotate(database, folder, CALLER)
    (folder / FILE).unlink(missing_ok=True)
    assert ensure(database, folder) != old
    assert set(rows(database)) == {old, current(database, folder)}


def test_a_key_that_somebody_else_retires_meanwhile_is_not_rotated_twice(
    database: Database, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = ensure(database, folder)
    with database.session() as session:
        key = signing_key(session, folder)
        session.get_one(AttestationKey, old).retired = now()
    monkeypatch.setattr(module, "signing_key", lambda *_: key)
    with pytest.raises(Refusal, match="Somebody else has just done it"):
        rotate(database, folder, CALLER)
    assert not (folder / NEXT).exists()
