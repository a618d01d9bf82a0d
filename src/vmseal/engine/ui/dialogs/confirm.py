"""A question before something is done that cannot be undone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nicegui.element import Element

from vmseal.engine.requests import Refusal
from vmseal.engine.ui.widgets.modal import Modal
from vmseal.engine.ui.widgets.simple import Button, Text


def confirm(question: str, consequence: str, *, verb: str, do: Callable[[], Awaitable[None]]) -> None:
    """Ask ``question``, say what follows, and ``do`` it when the button ``verb`` is pressed.

    A Refusal stays in the dialog, in words.
    """
    with Modal(question) as modal:
        Text("p", consequence)
        error = Text("p", classes="vs-error", role="alert")
        with Element("div").classes("vs-buttons"):
            Button("Cancel", modal.close, autofocus=True)
            button = Button(verb, look="danger")

    async def pressed() -> None:
        button.set_disabled(disabled=True)
        try:
            await do()
        except Refusal as refusal:
            error.show(plain(refusal))
            button.set_disabled(disabled=False)
        else:
            modal.close()

    button.on("click", pressed, args=[])


def plain(refusal: Refusal) -> str:
    """Return a refusal's words without the brackets that oVirt's API puts around them."""
    return refusal.detail.removeprefix("[").removesuffix("]")
