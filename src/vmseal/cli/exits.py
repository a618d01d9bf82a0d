"""Exit codes, and which error ends with which; part of the command line's contract with scripts."""

from __future__ import annotations

from enum import IntEnum

from vmseal.model.errors import VmsealError


class ExitCode(IntEnum):
    """How ``vmseal`` ends."""

    OK = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    NOT_FOUND = 4
    AUTHENTICATION = 5
    UNREACHABLE = 6
    INTERRUPTED = 130  # 128 + SIGINT, as shells report it

    @property
    def meaning(self) -> str:
        """The sentence that ``--help`` and the manual page show."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "the work failed, or vmseal could not start it",
    ExitCode.USAGE: "wrong options or arguments; nothing was done",
    ExitCode.REFUSED: "the engine refused the request (conflict, or it makes no sense); nothing was changed",
    ExitCode.NOT_FOUND: "no such VM, template, job or host",
    ExitCode.AUTHENTICATION: "user or password are wrong, or the user may not do this",
    ExitCode.UNREACHABLE: "no engine answers; start one with `vmseal up`",
    ExitCode.INTERRUPTED: "interrupted with Ctrl-C",
}


class CommandError(VmsealError):
    """A sub-command cannot go on; ``exit_code`` says how ``vmseal`` ends."""

    exit_code = ExitCode.FAILED


class WrongUsage(CommandError):
    """Options that do not go together, or a value that cannot be."""

    exit_code = ExitCode.USAGE


class Interrupted(CommandError):
    """The user pressed Ctrl-C."""

    exit_code = ExitCode.INTERRUPTED


def exit_code_of(error: VmsealError) -> ExitCode:
    """Return how ``vmseal`` ends after ``error``."""
    return error.exit_code if isinstance(error, CommandError) else ExitCode.FAILED


def table() -> str:
    """Return the exit codes as lines of text, for ``--help``."""
    return "\n\n".join(f"{code.value}: {code.meaning}" for code in ExitCode)
