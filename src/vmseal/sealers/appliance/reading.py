"""Reading data from inside the appliance into dataclasses, without trust in a single value.

Whoever has mounted a hostile file system may be anybody. So every value must have exactly the type that its field
states, unknown fields are refused, and text is made harmless for terminals and logs.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
LARGEST = 2**63 - 1  # no count of bytes or files is larger


class Unbelievable(Exception):
    """The data is not what it should be; the text says where."""


def read(kind: type[T], value: object, where: str = "report") -> T:
    """Return ``value``, which came as JSON, as the dataclass ``kind``.

    Raises:
        Unbelievable: it does not fit.

    """
    if not isinstance(value, dict):
        raise Unbelievable(f"{where} is no object")
    hints = _hints(kind)  # type: ignore[arg-type]  # a class can be hashed, whatever its objects can
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]  # callers give dataclasses
    if unknown := sorted(map(harmless, value.keys() - known.keys()))[:3]:
        raise Unbelievable(f"{where} has unknown fields: {', '.join(unknown)}")
    for name, field in known.items():
        if name not in value and field.default is MISSING and field.default_factory is MISSING:
            raise Unbelievable(f"{where} lacks {name}")
    return kind(**{name: _read(hints[name], each, f"{where}.{name}") for name, each in value.items()})


@cache
def _hints(kind: type) -> Mapping[str, Any]:
    """Return the types of a class's fields; a report has many of each, and finding them out takes its time."""
    return get_type_hints(kind)


def harmless(text: object) -> str:
    """Return the text with everything escaped that could steer a terminal or break an encoding."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in str(text))


def _read(kind: Any, value: object, where: str) -> object:
    if kind in (str, int, float, bool):
        return _scalar(kind, value, where)
    if is_dataclass(kind):
        return read(kind, value, where)  # type: ignore[arg-type]  # a class, since an annotation
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _word(kind, value, where)
    return _compound(kind, value, where)


def _scalar(kind: type, value: object, where: str) -> object:
    if kind is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST:
        value = float(value)
    if type(value) is not kind:
        raise Unbelievable(f"{where} is no {kind.__name__}")
    if isinstance(value, str):
        return harmless(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise Unbelievable(f"{where} is no number")
    if isinstance(value, int) and abs(value) > LARGEST:
        raise Unbelievable(f"{where} is too large")
    return value


def _word(kind: type[Enum], value: object, where: str) -> Enum:
    try:
        return kind(value)
    except ValueError as error:
        raise Unbelievable(f"{where} is none of the words that are known") from error


def _compound(kind: Any, value: object, where: str) -> object:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return None if value is None and type(None) in arguments else _alternative(arguments, value, where)
    if origin is Literal and value in arguments:
        return value
    if origin in (list, tuple) and isinstance(value, list):
        items = [_read(arguments[0], each, f"{where}[{number}]") for number, each in enumerate(value)]
        return items if origin is list else tuple(items)
    if isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(value, dict):
        return {harmless(name): _read(arguments[1], each, f"{where}.{harmless(name)}") for name, each in value.items()}
    if kind is object:
        return _anything(value, where)
    raise Unbelievable(f"{where} has the wrong type")


def _alternative(kinds: tuple[Any, ...], value: object, where: str) -> object:
    for kind in kinds:
        try:
            return _read(kind, value, where)
        except Unbelievable as error:
            last = error
    raise last


def _anything(value: object, where: str) -> object:
    """Return data of no stated type: harmless text, numbers, and lists and objects of them."""
    if isinstance(value, list):
        return [_anything(each, where) for each in value]
    if isinstance(value, dict):
        return {harmless(name): _anything(each, where) for name, each in value.items()}
    return value if value is None else _scalar(type(value), value, where)
