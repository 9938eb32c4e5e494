"""On which line of a text each key stands.

Each function takes a text that its format's own parser has accepted, and so is no second parser. It says nothing of
what it cannot tell. Refuses to know what keys mean.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from relaunch.jobfile.place import KeyPath

DEPTH_MAX = 16
Twice = tuple[str, int] | None
_JSON_PIECE = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)


class Within:
    """A dictionary or array that is open while a text is gone through."""

    __slots__ = ("is_dictionary", "key", "seen", "wants_key")

    def __init__(self, *, is_dictionary: bool) -> None:
        self.is_dictionary = is_dictionary
        self.key: str | int = "" if is_dictionary else 0
        self.wants_key = is_dictionary
        self.seen: set[str] = set()


class Recorder:
    """Collects the lines of keys, and the first key that one dictionary has twice.

    Attributes:
        lines: The line of each key path, as deep as anybody asks for.
        twice: A key and the line of its second time.
    """

    def __init__(self) -> None:
        self.lines: dict[KeyPath, int] = {}
        self.twice: Twice = None
        self._open: list[Within] = []

    @property
    def wants_key(self) -> bool:
        """Whether what comes next is a key."""
        return bool(self._open) and self._open[-1].wants_key

    def opens(self, line: int, *, is_dictionary: bool) -> None:
        """A dictionary or an array begins."""
        self.value(line)
        self._open.append(Within(is_dictionary=is_dictionary))

    def closes(self) -> None:
        """It ends."""
        if self._open:
            self._open.pop()

    def key(self, key: str, line: int) -> None:
        """A key of the dictionary that is open."""
        inner = self._open[-1]
        inner.key, inner.wants_key = key, False
        if key in inner.seen and self.twice is None:
            self.twice = key, line
        inner.seen.add(key)
        self._record(line)

    def value(self, line: int) -> None:
        """A value; of an array, it has no key to be found by."""
        if self._open and not self._open[-1].is_dictionary:
            self._record(line)

    def next(self) -> None:
        """What was open last goes on with its next key or item."""
        if self._open:
            inner = self._open[-1]
            inner.wants_key = inner.is_dictionary
            if isinstance(inner.key, int):
                inner.key += 1

    def _record(self, line: int) -> None:
        if len(self._open) <= DEPTH_MAX:
            self.lines.setdefault(tuple(each.key for each in self._open), line)


def json_lines(text: str) -> Recorder:
    """The lines of a JSON text."""
    recorder, line, at = Recorder(), 1, 0
    for found in _JSON_PIECE.finditer(text):
        line, at = line + text.count("\n", at, found.start()), found.start()
        piece = found.group()
        if piece in "{[":
            recorder.opens(line, is_dictionary=piece == "{")
        elif piece in "}]":
            recorder.closes()
        elif piece == ",":
            recorder.next()
        elif piece != ":":
            if recorder.wants_key:
                recorder.key(json.loads(piece, strict=False), line)
            else:
                recorder.value(line)
    return recorder


def xml_lines(data: bytes) -> Recorder:
    """The lines of a property list in XML.

    Raises:
        xml.parsers.expat.ExpatError: It is no XML.
        ValueError: It declares entities.
    """
    from xml.parsers import expat

    recorder, parser = Recorder(), expat.ParserCreate()
    key: list[str] = []
    begun_at = 0

    def starts(name: str, _attributes: object) -> None:
        nonlocal begun_at
        if name in ("dict", "array"):
            recorder.opens(parser.CurrentLineNumber, is_dictionary=name == "dict")
        elif name == "key":
            key.clear()
            begun_at = parser.CurrentLineNumber
        elif name != "plist":
            recorder.value(parser.CurrentLineNumber)

    def ends(name: str) -> None:
        if name in ("dict", "array"):
            recorder.closes()
        if name == "key" and recorder.wants_key:
            recorder.key("".join(key), begun_at)
        elif name not in ("key", "plist"):
            recorder.next()

    def declares(name: str, *_rest: object) -> None:
        raise ValueError(f"it declares the entity {name[:80]!r}, and entities are not taken")

    parser.EntityDeclHandler = declares
    parser.StartElementHandler = starts
    parser.EndElementHandler = ends
    parser.CharacterDataHandler = key.append
    parser.Parse(data, True)
    return recorder


_TOML_KEY = r"(?:[A-Za-z0-9_-]+|\"(?:[^\"\\]|\\.)*\"|'[^']*')"
_TOML_KEYS = rf"{_TOML_KEY}(?:\s*\.\s*{_TOML_KEY})*"
_TOML_LINE = re.compile(rf"\s*(?:(\[\[?)\s*({_TOML_KEYS})\s*\]|({_TOML_KEYS})\s*=)")


def toml_lines(text: str) -> dict[KeyPath, int]:
    """The lines of a TOML text's tables, and of keys that begin a line; of what is within one line, nothing."""
    lines: dict[KeyPath, int] = {}
    items: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for number, kind, keys in _toml_statements(text):
        if kind == "":
            path = (*table, *keys)
        else:
            path = table = _in_last_item(keys, items, begins=kind == "[[")
        for end in range(1, len(path) + 1):
            lines.setdefault(path[:end], number)
    return lines


def _toml_statements(text: str) -> Iterator[tuple[int, str, list[str]]]:
    """Each line that begins a table or a key: its number, the brackets, the keys."""
    open_quotes = ""
    for number, line in enumerate(text.split("\n"), 1):
        if not open_quotes:
            found = _TOML_LINE.match(line)
            if found is not None:
                keys = re.findall(_TOML_KEY, found.group(2) or found.group(3))
                yield number, found.group(1) or "", [_toml_key(key) for key in keys]
        for quotes in re.findall(r"\"\"\"|'''", line):
            if open_quotes in ("", quotes):
                open_quotes = "" if open_quotes else quotes


def _toml_key(written: str) -> str:
    if written.startswith("'"):
        return written[1:-1]
    if not written.startswith('"'):
        return written
    try:
        return str(json.loads(written))
    except ValueError:
        return written


def _in_last_item(keys: list[str], items: dict[KeyPath, int], *, begins: bool) -> KeyPath:
    """A table's path, with the number of the item in each array of tables that it is in."""
    path: KeyPath = ()
    for i, key in enumerate(keys):
        path = (*path, key)
        if begins and i == len(keys) - 1:
            items[path] = items.get(path, -1) + 1
        if path in items:
            path = (*path, items[path])
    return path
