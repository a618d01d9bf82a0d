"""Following what the engine was asked to do to its end."""

from __future__ import annotations

import time

from vmseal.cli.client import EngineClient, NotFound
from vmseal.cli.exits import CommandError
from vmseal.cli.options import Options
from vmseal.cli.values import Json, text
from vmseal.cli.watch import Interrupts, Watch

POLL = 0.3  # seconds between two looks at a thing that is being removed


class Work:
    """What an accepted request started."""

    def __init__(self, client: EngineClient, options: Options, interrupts: Interrupts) -> None:
        self._client = client
        self._watch = Watch(client, options, interrupts)

    def finish(self, started: Json, *, wait: bool) -> str:
        """Return the id of what is being made, once its job has ended well; at once without ``wait``."""
        made, job = text(started, "id"), text(started, "job", "id")
        if not job:
            raise CommandError("the engine's answer names no job: is it a vmseal engine?")
        if wait:
            self._watch.follow(job).require_success()
        return made

    def removed(self, answer: Json, path: str, *, wait: bool) -> None:
        """Return when the thing at ``path`` is gone; raise when it stays."""
        job = text(answer, "job", "id")
        if not wait:
            return
        if job:
            self._watch.follow(job).require_success()
            return
        while True:
            try:
                thing = self._client.patiently(lambda: self._client.get(path))
            except NotFound:
                return
            if text(thing, "status") == "illegal":
                raise CommandError(f"{text(thing, 'name')} could not be removed; `vmseal event list` says why")
            time.sleep(POLL)
