"""What a seal removed, or would remove, per operation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui.element import Element

from vmseal.engine.ui.widgets.cells import size_words


class SealReportView(Element, component="seal_report.js"):
    """A seal's report; ``report`` is what the host made, so nothing in it is taken for granted."""

    def __init__(self, report: Mapping[str, Any]) -> None:
        super().__init__()
        operations = report.get("operations")
        listed = operations if isinstance(operations, list) else []
        self._props["operations"] = [_operation(one) for one in listed if isinstance(one, dict) and _does(one)]


def _does(one: Mapping[str, Any]) -> bool:
    """Return whether an operation did something, or kept something that it could not."""
    return any(one.get(name) for name in ("removed", "changed", "paths", "kept", "detail", "warnings"))


def _operation(one: Mapping[str, Any]) -> dict[str, Any]:
    removed, changed, size = _number(one, "removed"), _number(one, "changed"), _number(one, "bytes")
    words = [f"{removed} removed" if removed else "", f"{changed} changed" if changed else ""]
    words.append(size_words(size) if size else "")
    kept = [{"path": str(each.get("path")), "words": f"stays: {each.get('why')}"} for each in _list(one, "kept")]
    paths = [
        {"path": str(each.get("path")), "words": _change(str(each.get("action")), _number(each, "bytes"))}
        for each in _list(one, "paths")
    ]
    return {
        "name": str(one.get("name")),
        "detail": str(one.get("detail") or ""),
        "words": ", ".join(filter(None, words)),
        "paths": paths + kept,
        "more": _number(one, "more"),
    }


def _change(action: str, size: int) -> str:
    return f"{action}, {size_words(size)}" if size else action


def _list(one: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    value = one.get(name)
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _number(one: Mapping[str, Any], name: str) -> int:
    value = one.get(name)
    return value if isinstance(value, int) else 0
