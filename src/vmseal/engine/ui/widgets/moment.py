"""A moment in the browser's time zone."""

from __future__ import annotations

import datetime as dt

from nicegui.element import Element


class Moment(Element, component="moment.js"):
    """A moment, UTC in its tooltip."""

    def __init__(self, moment: dt.datetime) -> None:
        super().__init__()
        self._props["iso"] = moment.isoformat()
