r"""oVirt's search language, as text and as a tree.

A search such as ``name=web* and sealed=true sortby name page 2`` is made of comparisons (``key op value``), free text,
``and``, ``or`` (``and`` binds tighter), ``sortby key [asc|desc]`` and ``page N``. A value in double quotes may hold
anything; ``\"`` and ``\\`` in it stand for a quote and a backslash.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vmseal.model.errors import VmsealError

MAX_LENGTH = 4000  # characters
MAX_TERMS = 100

_OPERATOR = re.compile(r"\s*(!=|<=|>=|=|<|>)\s*")
_WORD = re.compile(r'[^\s=!<>"]+')
_QUOTED = re.compile(r'"((?:\\.|[^"\\])*)"', re.DOTALL)
_BARE = re.compile(r"\S+")
_ESCAPED = re.compile(r'\\(["\\])')
_KEYWORDS = frozenset({"and", "or", "sortby", "page"})


class SearchError(VmsealError):
    """A search that makes no sense, or asks for what there is not."""


@dataclass(frozen=True)
class Comparison:
    """``key op value``; the key in lower case."""

    key: str
    operator: str
    value: str


@dataclass(frozen=True)
class FreeText:
    """A word or quoted text without a key: anything that has it in its name or description."""

    text: str


@dataclass(frozen=True)
class AllOf:
    """Terms that must all hold."""

    terms: tuple[Term, ...]


@dataclass(frozen=True)
class AnyOf:
    """Terms of which one must hold."""

    terms: tuple[Term, ...]


Term = Comparison | FreeText | AllOf | AnyOf


@dataclass(frozen=True)
class Search:
    """A parsed search. ``sort`` is a key in lower case; pages count from 1."""

    condition: Term | None = None
    sort: str | None = None
    descending: bool = False
    page: int | None = None


def parse(text: str) -> Search:
    """Return the search that the text says; SearchError when it says none."""
    if len(text) > MAX_LENGTH:
        raise SearchError(f"The search has {len(text)} characters; at most {MAX_LENGTH} are understood.")
    if "\0" in text:
        raise SearchError("The search has a NUL character, which no database can look for.")
    return _Parser(text).parse()


def quote(value: str) -> str:
    """Return the value so that it stands for itself in a search, apart from the wildcard ``*``."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


class _Parser:
    """Reads the text from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._terms = 0

    def parse(self) -> Search:
        condition = None
        if not self._at_end() and self._keyword() not in ("sortby", "page"):
            condition = self._any_of()
        sort, descending = self._sort()
        page = self._page()
        if not self._at_end():
            raise self._error("the rest is not understood")
        return Search(condition, sort, descending, page)

    def _any_of(self) -> Term:
        terms = [self._all_of()]
        while self._take("or"):
            terms.append(self._all_of())
        return terms[0] if len(terms) == 1 else AnyOf(tuple(terms))

    def _all_of(self) -> Term:
        terms = [self._term()]
        # Words beside each other, without "and", must all hold.
        while self._take("and") or not (self._at_end() or self._keyword()):
            terms.append(self._term())
        return terms[0] if len(terms) == 1 else AllOf(tuple(terms))

    def _term(self) -> Term:
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise SearchError(f"The search has more than {MAX_TERMS} terms.")
        if self._keyword():
            raise self._error("a term is missing")
        quoted = self._match(_QUOTED)
        if quoted:
            return FreeText(_ESCAPED.sub(r"\1", quoted[1]))
        word = self._match(_WORD)
        if not word:
            raise self._error("neither a key nor a text")
        operator = self._match(_OPERATOR, skip=False)
        return Comparison(word[0].lower(), operator[1], self._value()) if operator else FreeText(word[0])

    def _value(self) -> str:
        quoted = self._match(_QUOTED, skip=False)
        if quoted:
            return _ESCAPED.sub(r"\1", quoted[1])
        bare = self._match(_BARE, skip=False)
        if not bare or bare[0].startswith('"'):
            raise self._error("a value, or its closing quote, is missing")
        return bare[0]

    def _sort(self) -> tuple[str | None, bool]:
        if not self._take("sortby"):
            return None, False
        key = self._match(_WORD)
        if not key:
            raise self._error("sortby needs a key")
        for direction in ("desc", "asc"):
            if self._take(direction):
                return key[0].lower(), direction == "desc"
        return key[0].lower(), False

    def _page(self) -> int | None:
        if not self._take("page"):
            return None
        number = self._match(_WORD)
        if not number or not re.fullmatch("[0-9]{1,9}", number[0]) or int(number[0]) < 1:
            raise self._error("page needs a number from 1 on")
        return int(number[0])

    def _keyword(self) -> str | None:
        """Return the keyword that comes next, if one does; a key may be called like one: ``page=1``."""
        self._skip()
        word = _WORD.match(self._text, self._at)
        if not word or word[0].lower() not in _KEYWORDS or _OPERATOR.match(self._text, word.end()):
            return None
        return word[0].lower()

    def _take(self, word: str) -> bool:
        self._skip()
        found = _WORD.match(self._text, self._at)
        if not found or found[0].lower() != word or (word in _KEYWORDS and not self._keyword()):
            return False
        self._at = found.end()
        return True

    def _match(self, pattern: re.Pattern[str], *, skip: bool = True) -> re.Match[str] | None:
        if skip:
            self._skip()
        found = pattern.match(self._text, self._at)
        if found:
            self._at = found.end()
        return found

    def _skip(self) -> None:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1

    def _at_end(self) -> bool:
        self._skip()
        return self._at >= len(self._text)

    def _error(self, what: str) -> SearchError:
        return SearchError(f"The search cannot be understood at character {self._at + 1} of {self._text!r}: {what}.")
