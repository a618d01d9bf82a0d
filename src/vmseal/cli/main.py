"""The program ``vmseal``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from vmseal.cli import application

SEAL = "seal"
VIRT_SYSPREP = "virt-sysprep"
ALONE = {  # loaded without the others
    (SEAL,): application.only_seal,
    ("audit",): application.only_audit,
    ("template", "create"): application.only_template_create,
    ("vm",): application.only_vm,
}
VALUED = frozenset({"--state", "--url", "--ca-file", "--user", "--password-file"})  # options that a word follows


def main() -> None:
    """Run the program; the console script's entry point. Under the name virt-sysprep it is ``vmseal seal``."""
    arguments = sys.argv[1:]
    if Path(sys.argv[0]).name == VIRT_SYSPREP:
        arguments = [SEAL, "--profile", "sysprep", "--lines", *arguments]
    command = command_of(arguments)
    app = (ALONE.get(command[:1]) or ALONE.get(command) or application.whole)()
    app(arguments, prog_name="vmseal")


def command_of(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the command's two words, as far as there are any: the first that is neither an option nor its value."""
    words = iter(arguments)
    for word in words:
        if word in VALUED:
            next(words, None)
        elif not word.startswith("-"):
            return word, next(words, "")
    return ()


if __name__ == "__main__":
    main()
