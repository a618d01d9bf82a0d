"""``vmseal verify``: compare disks with a signed statement, without an engine."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from vmseal.attestation.digest import Course, digest_files, size_of
from vmseal.attestation.envelope import LIMIT, parse
from vmseal.attestation.keys import PublicKey, UnusableKey, read_public
from vmseal.attestation.refused import Refused
from vmseal.attestation.statement import Statement
from vmseal.attestation.verification import Verified, require_disks, require_sizes, verify
from vmseal.cli import running
from vmseal.cli.exits import CommandError, ExitCode, WrongUsage
from vmseal.cli.options import Options, command
from vmseal.cli.prove import DisksOption
from vmseal.cli.show import print_json
from vmseal.cli.statement import in_words, signed_in_words
from vmseal.host.in_use import require_not_written
from vmseal.sealers.sealer import SealProgress

MEANINGS = {
    ExitCode.OK: "verified: a key of yours has signed the statement, and these are its disks",
    ExitCode.FAILED: "nothing can be said: a file cannot be read, or a VM writes to a disk",
    ExitCode.USAGE: "wrong options or arguments, or a key file without keys; nothing was done",
    ExitCode.REFUSED: "refused: the statement is not to be believed, or is about other disks; the reason is printed",
    ExitCode.INTERRUPTED: "interrupted with Ctrl-C",
}
EPILOG = "Exit codes:\n\n" + "\n\n".join(f"{code.value}: {meaning}" for code, meaning in MEANINGS.items())

StatementOption = Annotated[
    Path, typer.Option("--statement", metavar="FILE", help="What `vmseal template attestation NAME` has printed.")
]
KeyOption = Annotated[
    list[Path],
    typer.Option("--key", metavar="FILE", help="Public keys that you trust, in PEM; repeat it. One must have signed."),
]


def add_to(app: typer.Typer) -> None:
    """Make ``verify`` a sub-command of the application."""
    command(app, "verify", epilog=EPILOG)(verify_disks)


def verify_disks(options: Options, statement: StatementOption, key: KeyOption, add: DisksOption) -> None:
    """Verify that disks are those of a signed statement, all of them and in its order. Nothing but the files is needed.

    Everything is only read. The digests are those of `sha256sum`; holes in a file are not read from the disk.
    """
    keys = [one for path in key for one in _keys(path)]
    text = _read(statement)
    try:
        verified = verify(parse(text), keys)
        _compare(options, verified.statement, add)
    except Refused as error:
        if options.json:
            print_json({"verified": False, "reason": error.reason, "detail": str(error)})
        else:
            _print(f"refused ({error.reason}): {error}", style="bold red")
        raise typer.Exit(ExitCode.REFUSED) from error
    if options.json:
        print_json(_as_json(verified))
    else:
        _show(verified, add)


def _compare(options: Options, statement: Statement, disks: Sequence[Path]) -> None:
    names = [str(disk) for disk in disks]
    require_sizes(statement, [size_of(disk) for disk in disks], names)
    for disk in disks:
        require_not_written(disk)
    with running.shown(quiet=options.json) as show:
        step = 1 if sys.stderr.isatty() else 25  # a bar moves with each percent, a log gets a few lines

        def progress(percent: float) -> None:
            if percent % step == 0:
                show(SealProgress(percent, "computing digests"))

        digests = digest_files(disks, Course(progress))
    for disk in disks:  # a VM that was started meanwhile
        require_not_written(disk)
    require_disks(statement, digests, names)


def _keys(path: Path) -> Sequence[PublicKey]:
    try:
        return read_public(_read(path).decode("utf-8", "replace"))
    except UnusableKey as error:
        raise WrongUsage(f"--key {path} holds {error}") from error


def _read(path: Path) -> bytes:
    """Return a file's content, or so much of it that it is seen to be too long."""
    try:
        with path.open("rb") as file:
            return file.read(LIMIT + 1)
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}") from error


def _as_json(verified: Verified) -> dict[str, object]:
    return {
        "verified": True,
        "key": verified.key_id,
        "statement": verified.statement.model_dump(mode="json", by_alias=True),
    }


def _show(verified: Verified, disks: Sequence[Path]) -> None:
    for disk, subject in zip(disks, verified.statement.subject, strict=True):
        _print(f"{subject.digest.sha256}  {disk}")
    _print(f"template {verified.statement.predicate.template.name}: {in_words(verified.statement)}")
    _print(signed_in_words(verified.statement, verified.key_id))
    _print("verified", style="bold green")


def _print(line: str, style: str | None = None) -> None:
    Console(highlight=False).print(line, style=style, markup=False, soft_wrap=True)
