"""An onlooker that reads the domain all the time and remembers every moment in which the promise was broken."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.crash.stack import Stack, is_sealed

POLL = 0.01  # seconds between two looks at all metadata files


class Watcher:
    """A context manager; at its end the test fails if a volume was ever LEGAL and SHARED while not sealed."""

    def __init__(self, *stacks: Stack) -> None:
        self._stacks = stacks
        self._stop = threading.Event()
        self._seen: dict[str, tuple[int, int]] = {}
        self._thread = threading.Thread(target=self._run, name="watcher")
        self.violations: list[str] = []
        self.looks = 0
        self.published = 0
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if error is None:
            assert self._error is None, f"the watcher itself failed: {self._error!r}"
            assert self.violations == []
            assert self.looks > 0

    def _run(self) -> None:
        try:
            while not self._stop.wait(POLL):
                for stack in self._stacks:
                    self._look(stack)
                self.looks += 1
        except Exception as error:  # noqa: BLE001  handed to the test's thread
            self._error = error

    def _look(self, stack: Stack) -> None:
        with contextlib.suppress(FileNotFoundError):  # an image goes while we look
            for image in os.scandir(stack.images):
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    for entry in os.scandir(image.path):
                        if entry.name.endswith(".meta"):
                            self._look_at(entry)

    def _look_at(self, entry: os.DirEntry[str]) -> None:
        with contextlib.suppress(FileNotFoundError):
            status = os.stat(entry.path)  # noqa: PTH116  a new file replaces the old one; the entry's own stat is cached
            version = (status.st_ino, status.st_mtime_ns)
            if self._seen.get(entry.path) == version:
                return
            content = Path(entry.path).read_text()
            self._seen[entry.path] = version
            if "VOLTYPE=SHARED\n" in content and "LEGALITY=LEGAL\n" in content:
                self.published += 1
                if not is_sealed(Path(entry.path).with_suffix("")):
                    self.violations.append(f"{entry.path} is LEGAL and SHARED, and not sealed")
