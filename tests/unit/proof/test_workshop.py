"""The folders and turns of proofs."""

from __future__ import annotations

import asyncio
import stat
from contextlib import suppress
from pathlib import Path

from vmseal.proof import workshop


def test_a_work_folder_is_private_and_gone_in_the_end(tmp_path: Path) -> None:
    with suppress(KeyError), workshop.work_folder(tmp_path) as folder:
        (folder / "clone").mkdir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_proof_that_was_killed_goes_and_that_of_a_running_one_stays(tmp_path: Path) -> None:
    (tmp_path / "proof-killed").mkdir()
    with workshop.work_folder(tmp_path) as running, workshop.work_folder(tmp_path):
        assert running.is_dir()
        assert not (tmp_path / "proof-killed").exists()


def test_no_more_proofs_than_allowed_run_at_once(tmp_path: Path) -> None:
    running, most = 0, 0

    async def proof() -> None:
        nonlocal running, most
        async with workshop.turn(tmp_path, 2):
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.05)
            running -= 1

    async def four() -> None:
        await asyncio.gather(*(proof() for _ in range(4)))

    asyncio.run(four())
    assert most == 2


def test_what_a_failure_leaves_is_for_its_owner_alone_and_does_not_pile_up(tmp_path: Path) -> None:
    folders = [workshop.keep(tmp_path, "web", {"clone-1.console": f"{number}\n"}) for number in range(25)]
    kept = [folder for folder in folders if folder.exists()]
    assert kept == folders[-workshop.KEPT :]
    file = kept[-1] / "clone-1.console"
    assert file.read_text() == "24\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
