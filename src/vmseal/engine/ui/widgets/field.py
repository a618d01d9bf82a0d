"""A form's field with its label, its hint, and its error beside it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from nicegui.element import Element
from nicegui.events import GenericEventArguments

MAX_TEXT = 10_000  # characters; whoever sends more is no person at a form

Changed = Callable[[], Awaitable[None]]


class Field(Element, component="field.js"):
    """A field. ``kind`` is "text", "search", "textarea", "number", "select" or "checkbox"."""

    def __init__(
        self,
        label: str,
        value: str | bool = "",
        *,
        kind: str = "text",
        options: Mapping[str, str] | None = None,
        hint: str = "",
        required: bool = False,
        focused: bool = False,
        changed: Changed | None = None,
    ) -> None:
        super().__init__()
        self._value = value
        self._changed = changed
        self._props.update(
            kind=kind, label=label, value=value, hint=hint, error="", required=required, disabled=False, focused=focused
        )
        self._props["options"] = _options(options or {})
        self.on("change", self._on_change)

    @property
    def text(self) -> str:
        """What is written or chosen, without blanks around it."""
        return str(self._value).strip()

    @property
    def is_ticked(self) -> bool:
        """Whether a checkbox is ticked."""
        return self._value is True

    def set_value(self, value: str | bool) -> None:
        """Put a value there in place of what the user gave."""
        self._value = value
        self.run_method("set", value)

    def set_error(self, error: str = "") -> None:
        """Show an error beside the field, or none."""
        self._set("error", error)

    def set_hint(self, hint: str) -> None:
        """Show a hint below the field."""
        self._set("hint", hint)

    def set_disabled(self, *, disabled: bool) -> None:
        """Let nobody change the field, or let them."""
        self._set("disabled", disabled)

    def set_options(self, options: Mapping[str, str]) -> None:
        """Offer other choices: values and their labels."""
        self._set("options", _options(options))

    def focus(self) -> None:
        """Put the focus there."""
        self.run_method("focus")

    def _set(self, name: str, value: Any) -> None:
        if self._props.get(name) != value:
            self._props[name] = value
            self.update()

    async def _on_change(self, event: GenericEventArguments) -> None:
        given = event.args
        if isinstance(given, bool) if self._props["kind"] == "checkbox" else isinstance(given, str):
            self._value = given if isinstance(given, bool) else given[:MAX_TEXT]
            if self._changed is not None:
                await self._changed()


def _options(options: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"value": value, "label": label} for value, label in options.items()]
