"""Bytes of a file into plain values: JSON, TOML, property lists in XML and binary.

Knows the formats and how each one's parser fails. Refuses to know any key. What a parser does not take is an error with
its line; nothing else leaves here, whatever the bytes are.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from relaunch.errors import BadJobFile
from relaunch.jobfile.place import Reading

FORMATS = ("json", "plist", "toml")
SUFFIXES = tuple(f".{name}" for name in FORMATS)
BINARY_MARK = b"bplist"
_DIGITS_MAX = 20
# Bytes that are no text stand as these code points (PEP 383); other halves of pairs mean nothing.
_LONE_HALF = re.compile("[\ud800-\udc7f\udd00-\udfff]")
# Python's parser takes a time that grows with the square of such a key's length, and more.
_DEEP_KEY = re.compile(r"(?m)^[ \t]*+\[{0,2}[ \t]*+(?:[A-Za-z0-9_-]++[ \t]*+\.[ \t]*+){64}")
_AT_LINE = re.compile(r" \(at line (\d+), column \d+\)$")


def format_of(path: str, data: bytes = b"") -> str:
    """The format of a file, by its name, else by how it begins.

    Raises:
        BadJobFile: Neither tells.
    """
    for name in FORMATS:
        if path.lower().endswith(f".{name}"):
            return name
    start = data.lstrip()[:1]
    if start == b"{":
        return "json"
    if start == b"<" or data.startswith(BINARY_MARK):
        return "plist"
    raise BadJobFile(f"{path}: the name of a job file ends with {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")


def decode(data: bytes, path: str) -> tuple[Any, Reading]:
    """The plain value that a file holds, and the place that things in it have.

    Raises:
        BadJobFile: The file is not of its format.
    """
    decoders = {"json": _json, "toml": _toml, "plist": _plist}
    return decoders[format_of(path, data)](data, path)


def _bad(path: str, line: int | None, why: str) -> NoReturn:
    raise BadJobFile(f"{path if line is None else f'{path}:{line}'}: {why}") from None


def _text(data: bytes, path: str, name: str) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        _bad(path, data.count(b"\n", 0, error.start) + 1, f"no {name}: it is not UTF-8")
    at = text.find("\0")
    if at >= 0:
        _bad(path, text.count("\n", 0, at) + 1, f"no {name}: it holds a NUL")
    return text


class _Refused(ValueError):
    """What JSON does not have and Python's parser takes."""


def _refuse_constant(name: str) -> NoReturn:
    raise _Refused(f"no JSON: {name} is no number")


def _json_integer(digits: str) -> int:
    if len(digits) > _DIGITS_MAX:
        raise _Refused(f"a number has {len(digits)} digits; {_DIGITS_MAX} are the most")
    return int(digits)


def _json(data: bytes, path: str) -> tuple[Any, Reading]:
    from relaunch.jobfile.lines import json_lines

    text = _text(data, path, "JSON")
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_int=_json_integer)
    except json.JSONDecodeError as error:
        _bad(path, error.lineno, f"no JSON: {error.msg} (column {error.colno})")
    except _Refused as error:
        _bad(path, None, str(error))
    except RecursionError:
        _bad(path, None, "is nested too deeply")
    if "\\u" in text and _LONE_HALF.search(json.dumps(value, ensure_ascii=False)):
        _bad(path, None, "a text holds half of a surrogate pair, which is no character")
    found = json_lines(text)
    if found.twice is not None:
        key, line = found.twice
        _bad(path, line, f"the key {key[:80]!r} is there twice")
    return value, Reading(path=path, find_lines=lambda: found.lines)


def _toml(data: bytes, path: str) -> tuple[Any, Reading]:
    import tomllib

    from relaunch.jobfile.lines import toml_lines

    text = _text(data, path, "TOML")
    deep = _DEEP_KEY.search(text)
    if deep is not None:
        _bad(path, text.count("\n", 0, deep.start()) + 1, "is nested too deeply")
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = _AT_LINE.search(str(error))
        _bad(path, int(at.group(1)) if at else None, f"no TOML: {_AT_LINE.sub('', str(error))}")
    except RecursionError:
        _bad(path, None, "is nested too deeply")
    except ValueError as error:
        _bad(path, None, f"no TOML: {error}")
    return value, Reading(path=path, find_lines=lambda: toml_lines(text))


def _plist(data: bytes, path: str) -> tuple[Any, Reading]:
    import plistlib

    if data.startswith(BINARY_MARK):
        try:
            return plistlib.loads(data, fmt=plistlib.FMT_BINARY), Reading(path=path)
        except Exception as error:  # noqa: BLE001 - of bytes that are none, plistlib raises nearly anything
            _bad(path, None, f"no binary property list ({type(error).__name__})")
    return _xml_plist(data, path)


def _xml_plist(data: bytes, path: str) -> tuple[Any, Reading]:
    import plistlib
    from xml.parsers.expat import ExpatError

    from relaunch.jobfile.lines import xml_lines

    try:
        found = xml_lines(data)
        value = plistlib.loads(data, fmt=plistlib.FMT_XML)
    except ExpatError as error:
        if data.lstrip()[:1] in (b"{", b"("):
            _bad(path, None, "is an old-style property list; run: plutil -convert xml1")
        _bad(path, error.lineno, f"no XML property list: {error}")
    except plistlib.InvalidFileException as error:
        _bad(path, None, f"no XML property list: {error}")
    except Exception as error:  # noqa: BLE001 - of bytes that are none, plistlib raises nearly anything
        _bad(path, None, f"no XML property list: {str(error) or type(error).__name__}")
    if found.twice is not None:
        key, line = found.twice
        _bad(path, line, f"the key {key[:80]!r} is there twice")
    return value, Reading(path=path, find_lines=lambda: found.lines)
