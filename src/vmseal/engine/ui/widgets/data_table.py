"""A table of which the browser has one page: the engine searches, sorts and cuts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from nicegui.element import Element
from nicegui.events import GenericEventArguments

from vmseal.engine.queries.language import MAX_LENGTH, SearchError
from vmseal.engine.queries.paging import Page, PageAsked
from vmseal.engine.ui.widgets.cells import Action, Cell


@dataclass(frozen=True)
class Column:
    """A column; ``sort`` is the search key that sorts by it, ``align`` is "right" for numbers."""

    label: str
    sort: str | None = None
    align: str = ""


@dataclass(frozen=True)
class TableRow:
    """A row; ``title`` is what its buttons are read out with."""

    id: str
    title: str
    cells: tuple[Cell, ...]
    actions: tuple[Action, ...] = ()


Load = Callable[[PageAsked], Awaitable[Page[TableRow]]]
Act = Callable[[str, str], Awaitable[None]]  # row, action


class DataTable(Element, component="data_table.js"):
    """The table. ``empty`` says what to do while there is nothing; ``hint`` shows what can be searched for."""

    def __init__(
        self,
        label: str,
        columns: Sequence[Column],
        *,
        load: Load,
        act: Act | None = None,
        empty: str,
        hint: str = "",
        asked: PageAsked | None = None,
        addressed: bool = False,
    ) -> None:
        super().__init__()
        self._load = load
        self._act = act
        self._asked = asked or PageAsked()
        self._answer = 0  # sent with each answer: the table waits for one even when it is the same as before
        self._sorts = {column.sort for column in columns if column.sort}
        self._props.update(
            label=label,
            columns=[asdict(column) | {"name": column.label} for column in columns],
            rows=[],
            total=0,
            asked=self._shown(),
            error="",
            empty=empty,
            hint=hint,
            searchable=bool(hint),
            addressed=addressed,
        )
        self.on("ask", self._on_ask)
        self.on("act", self._on_act)

    async def refresh(self) -> None:
        """Ask again for what is shown; nothing is sent when it is the same."""
        asked = self._asked
        try:
            page = await self._load(asked)
        except SearchError as error:
            self._show(error=str(error), asked=self._shown())
            return
        if self._asked != asked:  # something else was asked for meanwhile
            await self.refresh()
            return
        if page.number != asked.number:
            self._asked = replace(asked, number=page.number)
        self._show(rows=[_row(row) for row in page.rows], total=page.total, error="", asked=self._shown())

    def _show(self, **values: Any) -> None:
        changed = {name: value for name, value in values.items() if self._props.get(name) != value}
        if changed:
            self._props.update(changed)
            self.update()

    def _shown(self) -> dict[str, Any]:
        return {
            "search": self._asked.search,
            "sort": self._asked.sort,
            "descending": self._asked.descending,
            "page": self._asked.number,
            "size": self._asked.size,
            "answer": self._answer,
        }

    async def _on_ask(self, event: GenericEventArguments) -> None:
        given = event.args if isinstance(event.args, dict) else {}
        search, sort, number = given.get("search"), given.get("sort"), given.get("page")
        self._asked = replace(
            self._asked,
            search=search[: MAX_LENGTH + 1] if isinstance(search, str) else "",
            sort=sort if sort in self._sorts else None,
            descending=bool(given.get("descending")),
            number=number if isinstance(number, int) and number > 0 else 1,
        )
        self._answer += 1
        await self.refresh()

    async def _on_act(self, event: GenericEventArguments) -> None:
        given = event.args if isinstance(event.args, dict) else {}
        row, action = str(given.get("row")), str(given.get("action"))
        shown = {one["id"]: one["actions"] for one in self._props["rows"]}
        if self._act is not None and any(one["name"] == action for one in shown.get(row, ())):
            await self._act(row, action)


def _row(row: TableRow) -> dict[str, Any]:
    actions = [{"name": one.name, "label": one.label, "danger": one.is_dangerous} for one in row.actions]
    return {"id": row.id, "title": row.title, "cells": list(row.cells), "actions": actions}
