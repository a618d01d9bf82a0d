"""The program ``vmseal``."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from vmseal.cli import plain
from vmseal.cli.options import Given, with_errors
from vmseal.cli.sysprep_options import Word

SEAL = "seal"
RARELY = 100_000  # new objects until the interpreter looks for garbage: what is imported is none, and there is a lot
TEMPLATE_CREATE = ("template", "create")
VIRT_SYSPREP = "virt-sysprep"
VALUED = frozenset({"--state", "--url", "--ca-file", "--user", "--password-file"})  # options that a word follows


def main() -> None:
    """Run the program; the console script's entry point. Under the name virt-sysprep it is ``vmseal seal``."""
    arguments = sys.argv[1:]
    if Path(sys.argv[0]).name == VIRT_SYSPREP:
        arguments = [SEAL, "--profile", "sysprep", "--lines", *arguments]
    command = command_of(arguments)
    if command[:1] == (SEAL,) and plain.COMPLETION not in os.environ and (read := plain.read(arguments, SEAL)):
        _seal(*read)
        return
    if command == TEMPLATE_CREATE and plain.COMPLETION not in os.environ and _template_create(arguments):
        return
    from vmseal.cli import application  # noqa: PLC0415  see vmseal.cli.plain

    application.for_command(command)(arguments, prog_name="vmseal")


def _seal(given: Given, words: Sequence[Word]) -> None:
    gc.set_threshold(RARELY)
    from vmseal.cli import seal, seal_options  # noqa: PLC0415  for the others this would be for nothing

    options = given.completed(os.environ)
    with_errors(options, lambda: seal.run_seal(options, seal_options.read(words)))


def _template_create(arguments: Sequence[str]) -> bool:
    """Do it if the arguments are plain, and return whether they were."""
    from vmseal.cli import template_create  # noqa: PLC0415  for the others this would be for nothing

    read = plain.read_values(arguments, TEMPLATE_CREATE, template_create.WORDS)
    if read is None or not read[1].keys() >= template_create.REQUIRED:
        return False
    options = read[0].completed(os.environ)
    with_errors(options, lambda: template_create.create(options, template_create.Asked(**read[1])))
    return True


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
