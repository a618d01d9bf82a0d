"""What a page is: its address, its title, and the function that builds it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from vmseal.engine.ui.visit import Visit


@dataclass(frozen=True)
class UiPage:
    """A page. Variable parts of ``path`` ("/templates/{template_id}") are in the visit's ``path``."""

    path: str
    title: str
    build: Callable[[Visit], Awaitable[None]]
    is_in_navigation: bool = True
