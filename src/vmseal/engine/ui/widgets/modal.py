"""A dialog: open while it exists."""

from __future__ import annotations

from collections.abc import Callable

from nicegui.element import Element


class Modal(Element, component="modal.js"):
    """A dialog with a heading. It leaves the page when it is closed, by whatever; then ``on_close`` is called."""

    def __init__(self, label: str, *, wide: bool = False, on_close: Callable[[], None] | None = None) -> None:
        super().__init__()
        self._props.update(label=label, wide=wide)
        self._on_close = on_close
        self.on("close", self._closed, args=[])

    def close(self) -> None:
        """Close it, as Escape does."""
        self.run_method("close")

    def _closed(self) -> None:
        if self._on_close is not None:
            self._on_close()
        self.delete()
