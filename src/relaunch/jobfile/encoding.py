"""Plain values into the bytes of a file: JSON, TOML, property lists in XML and binary.

Knows what each format cannot hold, and refuses that. Refuses to know any key. TOML is written here, since it takes less
than knowing a library that does it: texts, numbers, arrays and tables are all that a job has.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from relaunch.errors import BadJobFile

FORMATS = ("json", "plist", "binary", "toml")
# XML cannot hold these; of a carriage return its parsers make a line feed.
_NOT_IN_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def encode(value: Mapping[str, Any], form: str) -> bytes:
    """The bytes of a file that holds a value.

    Args:
        value: A dictionary of texts, flags, numbers, arrays and dictionaries.
        form: One of ``FORMATS``.

    Raises:
        BadJobFile: The format cannot hold it.
    """
    if form == "json":
        return _json(value)
    try:
        if form == "toml":
            return ("\n".join(_toml_table(value, ())).strip("\n") + "\n").encode()
        return _plist(value, form)
    except UnicodeEncodeError:
        raise BadJobFile(f"a text holds bytes that are no UTF-8, which {form} cannot hold; write json") from None


def _json(value: Mapping[str, Any]) -> bytes:
    try:
        return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(value, indent=2) + "\n").encode()


def _plist(value: Mapping[str, Any], form: str) -> bytes:
    import plistlib

    if form == "binary":
        return plistlib.dumps(value, fmt=plistlib.FMT_BINARY, sort_keys=False)
    for text in _texts(value):
        found = _NOT_IN_XML.search(text)
        if found is not None and "\udc80" <= found.group() <= "\udcff":
            raise BadJobFile("a text holds bytes that are no UTF-8, which plist cannot hold; write json")
        if found is not None:
            raise BadJobFile(f"a text holds {found.group()!r}, which plist cannot hold; write json, toml or binary")
    return plistlib.dumps(value, fmt=plistlib.FMT_XML, sort_keys=False)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, content in value.items():
            yield name
            yield from _texts(content)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _toml_table(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """The lines of a table: first what is its own, since that would belong to any table that began before it."""
    for name, value in table.items():
        if not _is_table(value) and not _is_tables(value):
            yield f"{_toml_key(name)} = {_toml_value(value)}"
    for name, value in table.items():
        inner = (*path, name)
        header = ".".join(map(_toml_key, inner))
        if _is_table(value):
            yield from ("", f"[{header}]", *_toml_table(value, inner))
        elif _is_tables(value):
            for item in value:
                yield from ("", f"[[{header}]]", *_toml_table(item, inner))


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping)


def _is_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _toml_key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _toml_text(name)


def _toml_text(text: str) -> str:
    # A basic string's escapes are those of JSON; DEL is the one character that only TOML wants escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _toml_text(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_toml_value, value))}]"
    return repr(value)
