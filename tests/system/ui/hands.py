"""Two ways to use a page: with the mouse, and with the keyboard alone."""

from __future__ import annotations

from typing import Protocol

from playwright.sync_api import Locator, Page, expect

MOST_TABS = 200  # presses of the Tab key; whoever needs more would not get there


class Hands(Protocol):
    """Somebody's ways to use a page."""

    def press(self, element: Locator) -> None:
        """Press a button, follow a link."""

    def fill(self, field: Locator, text: str) -> None:
        """Write a text into a field, in place of what is there."""

    def tick(self, box: Locator) -> None:
        """Tick a box."""


class Mouse:
    """Points and clicks."""

    def press(self, element: Locator) -> None:
        """Click it."""
        element.click()

    def fill(self, field: Locator, text: str) -> None:
        """Click into it and type."""
        field.click()
        field.fill(text)

    def tick(self, box: Locator) -> None:
        """Click it."""
        box.check()


class Keyboard:
    """Has no mouse: goes on from where the focus is with the Tab key."""

    def __init__(self, page: Page) -> None:
        self._page = page

    def press(self, element: Locator) -> None:
        """Go there and press Enter."""
        self._go(element)
        self._page.keyboard.press("Enter")

    def fill(self, field: Locator, text: str) -> None:
        """Go there and type."""
        self._go(field)
        self._page.keyboard.press("Control+A")
        self._page.keyboard.type(text)

    def tick(self, box: Locator) -> None:
        """Go there and press the space bar."""
        self._go(box)
        self._page.keyboard.press("Space")
        expect(box).to_be_checked()

    def _go(self, element: Locator) -> None:
        element.wait_for()
        for _ in range(MOST_TABS):
            if element.evaluate("element => element === document.activeElement"):
                return
            self._page.keyboard.press("Tab")
        raise AssertionError(f"{element} is not reached by {MOST_TABS} presses of the Tab key")
