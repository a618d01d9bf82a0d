"""Reading and checking catalogues: every error says file, line, and what would be right."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from vmseal.seal.catalogue import Condition, DeleteLines, Kind, OnlyIf, Operation, Profile, Write
from vmseal.seal.errors import CatalogueError

HEADER = re.compile(r"^[ \t]*\[\[\s*operation\s*\]\]", re.MULTILINE)
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
MODE = re.compile(r"0[0-7]{3}")
# What the files call a field, where that is a word of Python.
KEY_OF_FIELD = {"kind": "class"}
GLOBS = ("unless", "keep", "remove", "remove_files", "remove_files_under", "empty", "report")
ACTIONS = ("remove", "remove_files", "remove_files_under", "empty", "delete_lines", "write", "report", "code")

Word = TypeVar("Word", bound=StrEnum)


class _Wrong(Exception):
    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def load(files: Iterable[Path]) -> tuple[Operation, ...]:
    """Read the files; see :func:`vmseal.seal.catalogue.load`."""
    found: dict[str, Operation] = {}
    places: dict[str, str] = {}
    for file in files:
        for operation, line in read(file):
            place = f"{file}:{line}"
            if operation.name in found:
                raise CatalogueError(
                    f"{place}: operation {operation.name} is already defined in {places[operation.name]};"
                    " choose another name"
                )
            found[operation.name], places[operation.name] = operation, place
    return in_order(found.values())


def in_order(operations: Iterable[Operation]) -> tuple[Operation, ...]:
    """Return the operations in the order in which they run."""
    return tuple(sorted(operations, key=lambda operation: (operation.on_devices, operation.after, operation.name)))


def read(file: Path) -> Iterator[tuple[Operation, int]]:
    """Return the operations of one file, with the lines where they begin.

    Raises:
        CatalogueError: the file cannot be read or is wrong.

    """
    text, data = parse(file)
    if unknown := sorted(set(data) - {"operation"}):
        raise CatalogueError(f"{file}:{_line_of(text, None, unknown[0])}: {unknown[0]} is not known; use [[operation]]")
    tables = data.get("operation", [])
    if not isinstance(tables, list):
        raise CatalogueError(f"{file}:1: operation is not a list; write [[operation]] above each one")
    begins = [match.start() for match in HEADER.finditer(text)] or [0] * len(tables)
    for begin, table in zip(begins, tables, strict=False):
        try:
            yield _operation(table), text.count("\n", 0, begin) + 1
        except _Wrong as wrong:
            name = table.get("name", "?") if isinstance(table, dict) else "?"
            line = _line_of(text, begin, wrong.key)
            raise CatalogueError(f"{file}:{line}: operation {name}: {wrong}") from wrong


def parse(file: Path) -> tuple[str, dict[str, object]]:
    """Return a file's text and what it says.

    Raises:
        CatalogueError: it cannot be read, or is no TOML; says file and line.

    """
    import tomllib  # noqa: PLC0415  who uses the program's own catalogue only need not wait for it

    try:
        text = file.read_text(encoding="utf-8")
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = re.search(r"at line (\d+)", str(error))
        raise CatalogueError(f"{file}:{match[1] if match else 'end'}: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogueError(f"{file}:1: cannot be read: {error}") from error


def _line_of(text: str, begin: int | None, key: str) -> int:
    """Return the line of a key in the table that begins at ``begin``, or in the file; if not found, its first line."""
    following = HEADER.search(text, begin + 1) if begin is not None else None
    end = following.start() if following else len(text)
    match = re.compile(rf"(?:^|[{{,])\s*(?:\[+\s*)?{re.escape(key)}\s*[=\]]", re.MULTILINE).search(
        text, begin or 0, end
    )
    position = match.end() if match else begin or 0
    return text.count("\n", 0, position) + 1


def from_json(data: Mapping[str, object]) -> Operation:
    """Return the operation that :func:`to_json` wrote."""
    try:
        return _operation(data)
    except _Wrong as wrong:
        raise CatalogueError(f"operation {data.get('name', '?')}: {wrong.key}: {wrong}") from wrong


def to_json(operation: Operation) -> dict[str, object]:
    """Return the operation in the form of the files."""
    return {
        KEY_OF_FIELD.get(name, name): _plain(value)
        for name, value in _set_fields(operation).items()
        if name in {"name", "why"} or value not in ((), "", None, False, Condition())
    }


def _set_fields(value: Operation | Condition | Write | DeleteLines) -> dict[str, object]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Condition | DeleteLines | Write):
        named = {name: _plain(item) for name, item in _set_fields(value).items() if item not in ((), None)}
        return named | {"mode": f"{value.mode:04o}"} if isinstance(value, Write) else named
    return str(value) if isinstance(value, StrEnum) else value


def _operation(data: object) -> Operation:
    table = _table("operation", data, [KEY_OF_FIELD.get(field.name, field.name) for field in fields(Operation)])
    name = _text(table, "name")
    if not NAME.fullmatch(name):
        raise _Wrong("name", f"{name!r} is not a name; write lower-case words joined by dashes")
    if not any(table.get(action) for action in ACTIONS):
        raise _Wrong("name", f"it does nothing; give one of {', '.join(ACTIONS)}")
    for condition, reason in (("unless", "unless_why"), ("report", "report_why")):
        if table.get(condition) and not table.get(reason):
            raise _Wrong(condition, f"{reason} is missing: say why these paths stay")
    return Operation(
        name=name,
        why=_text(table, "why"),
        kind=_word(table, "class", Kind),
        profile=_word(table, "profile", Profile),
        guest=_condition(table.get("guest", {})),
        **{key: _globs(table, key) for key in GLOBS},
        unless_why=_text(table, "unless_why", ""),
        report_why=_text(table, "report_why", ""),
        keep_names=_texts(table, "keep_names"),
        delete_lines=_each(table, "delete_lines", _delete_lines),
        write=_each(table, "write", _write),
        code=_code(table),
        after=_flag(table, "after"),
    )


def _condition(data: object) -> Condition:
    table = _table("guest", data, [field.name for field in fields(Condition)])
    return Condition(**{key: _texts(table, key) for key in table})


def _delete_lines(data: object) -> DeleteLines:
    table = _table("delete_lines", data, ["paths", "prefixes", "pattern"])
    pattern = _text(table, "pattern") if "pattern" in table else None
    found = DeleteLines(paths=_globs(table, "paths"), prefixes=_texts(table, "prefixes"), pattern=pattern)
    if not found.paths or (not found.prefixes and pattern is None):
        raise _Wrong("delete_lines", "give paths, and prefixes or pattern")
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise _Wrong("pattern", f"{pattern!r} is not a regular expression of Python: {error}") from error
    return found


def _write(data: object) -> Write:
    table = _table("write", data, ["path", "content", "mode", "only_if"])
    mode = _text(table, "mode", "0644")
    if not MODE.fullmatch(mode):
        raise _Wrong("mode", f"{mode!r} is not a mode; write four octal digits, as in '0644'")
    path = _path("path", _text(table, "path"))
    if re.search(r"[*?\[{~]", path):
        raise _Wrong("path", f"{path} is a pattern; name one file")
    only_if = _word(table, "only_if", OnlyIf) if "only_if" in table else OnlyIf.ALWAYS
    return Write(path=path, content=_text(table, "content"), mode=int(mode, 8), only_if=only_if)


def _code(table: Mapping[str, object]) -> str | None:
    if "code" not in table:
        return None
    code = _text(table, "code")
    if not NAME.fullmatch(code):
        raise _Wrong("code", f"{code!r} is not a name; write lower-case words joined by dashes")
    return code


def _globs(table: Mapping[str, object], key: str) -> tuple[str, ...]:
    return tuple(_path(key, glob) for glob in _texts(table, key))


def _path(key: str, path: str) -> str:
    if not path.startswith(("/", "~/")):
        raise _Wrong(key, f"{path!r} does not begin with / or ~/")
    if {"..", "."} & set(path.split("/")) or "//" in path or path.endswith("/") or "\0" in path:
        raise _Wrong(key, f"{path!r} is not a plain path: no //, no . or .. parts, no slash at the end")
    return path


def _table(key: str, data: object, known: Iterable[str]) -> Mapping[str, object]:
    if not isinstance(data, Mapping):
        raise _Wrong(key, f"{key} is {data!r}, not a table")
    if unknown := [str(name) for name in data if name not in set(known)]:
        raise _Wrong(unknown[0], f"{unknown[0]} is not known; there are {', '.join(known)}")
    return data


def _text(table: Mapping[str, object], key: str, default: str | None = None) -> str:
    value = table.get(key, default)
    if value is None:
        raise _Wrong("name", f"{key} is missing")
    if not isinstance(value, str):
        raise _Wrong(key, f"{key} is {value!r}, not a text")
    return value


def _texts(table: Mapping[str, object], key: str) -> tuple[str, ...]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _Wrong(key, f"{key} is {value!r}, not a list of texts")
    return tuple(value)


def _flag(table: Mapping[str, object], key: str) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise _Wrong(key, f"{key} is {value!r}, not true or false")
    return value


def _word(table: Mapping[str, object], key: str, words: type[Word]) -> Word:
    value = _text(table, key)
    try:
        return words(value)
    except ValueError as error:
        raise _Wrong(key, f"{key} is {value!r}; there are {', '.join(words)}") from error


Item = TypeVar("Item")


def _each(table: Mapping[str, object], key: str, read_item: Callable[[object], Item]) -> tuple[Item, ...]:
    value = table.get(key, [])
    if not isinstance(value, list):
        raise _Wrong(key, f"{key} is {value!r}, not a list of tables")
    return tuple(read_item(item) for item in value)
