"""The single values that a job file is made of: flags, numbers, texts, paths, labels, masks.

Knows how each is spelt and bounded. Refuses to know which key holds one.
"""

from __future__ import annotations

import re
from typing import Any

from relaunch.errors import BadSpec
from relaunch.fields import (
    BOUND_MAX,
    DURATION_S_MAX,
    INHERIT,
    Reader,
    a_flag,
    a_label,
    a_path,
    a_signal,
    a_text,
    duration_s,
    number,
    one_of,
    some_time_s,
)
from relaunch.fields import whole as whole_number
from relaunch.fields import words as words_of_a_command
from relaunch.jobfile.forms import Leaf
from relaunch.jobfile.place import shown
from relaunch.jobfile.rules import END, Schema
from relaunch.labels import LABEL_BYTES_MAX
from relaunch.policy import PORT_MAX

_NO_NUL = f"^[^\\u0000]*{END}"
_MASK_MAX = 0o777
# What strtoul(3) makes of a text: 0 before octal digits, 0x before hexadecimal ones. No more than 0777.
_MASK = re.compile(r"0+[0-7]{0,3}|0[xX]0*(?:1[0-9a-fA-F]{2}|[0-9a-fA-F]{1,2})|[1-9][0-9]?|[1-4][0-9]{2}|50[0-9]|51[01]")
_SERVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")
_DIGITS = re.compile(r"[0-9]{1,5}")
LINUX_NICE_MAX = 19
NICE_MAX = 20


def _integral(reader: Reader) -> Reader:
    """A reader that also takes 20.0 for 20, as JSON Schema does."""

    def read(value: object) -> Any:
        return reader(int(value) if isinstance(value, float) and value.is_integer() else value)

    return read


def _plain_number(value: float) -> float:
    """A number without a fraction where it has none."""
    return int(value) if float(value).is_integer() else value


def whole(low: int, high: int, words: str = "integer") -> Leaf:
    """A whole number within bounds."""
    shape: Schema = {"type": "integer", "minimum": low, "maximum": high}
    return Leaf(words, _integral(whole_number(low, high)), shape)


def between(low: float, high: float) -> Leaf:
    """A number within bounds."""
    return Leaf("number", number(low, high), {"type": "number", "minimum": low, "maximum": high}, _plain_number)


def choice(*names: str, **meant: str | None) -> Leaf:
    """One of these words; some mean another one, or nothing."""
    read_word = one_of(*names)

    def read(value: object) -> str | None:
        word = read_word(value)
        return meant.get(word, word)

    spelt = {meant.get(name, name): name for name in reversed(names)}
    return Leaf("string: " + ", ".join(names), read, {"enum": list(names)}, lambda word: spelt.get(word, word))


def _any_text(value: object) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise BadSpec("must be a text without NUL")
    return value


def _a_program(value: object) -> str:
    text = a_text(value)
    if "/" in text and not text.startswith("/"):
        raise BadSpec("must be an absolute path, or a name that is looked up in PATH")
    return text


def _arguments(value: object) -> list[str]:
    """The arguments without the program's own name; other writers say null where there are none."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadSpec("must be an array of texts")
    _check_texts(value)
    return list(words_of_a_command(["program", *value])[1:])


def _true(value: object) -> bool:
    if value is not True:
        raise BadSpec("must be true, or be left out")
    return True


def a_mask(value: object) -> int:
    """Permissions, or a mask of them: a number as it is, or a text as strtoul(3) reads it.

    Raises:
        BadSpec: It is neither, or over 0777.
    """
    if isinstance(value, str):
        if not _MASK.fullmatch(value):
            raise BadSpec('must be from 0 to 0777; a text that begins with 0 is octal, as in "022"')
        return int(value, 16) if value[:2] in ("0x", "0X") else int(value, 8 if value.startswith("0") else 10)
    return int(_integral(whole_number(0, _MASK_MAX))(value))


def _nice(value: object) -> int:
    return min(int(_integral(whole_number(-NICE_MAX, NICE_MAX))(value)), LINUX_NICE_MAX)


def a_bound(value: object) -> int | str:
    """A bound of a resource limit.

    Raises:
        BadSpec: It is none.
    """
    if value in ("infinity", "unlimited"):
        return "infinity"
    if value == INHERIT:
        return INHERIT
    try:
        return int(_integral(whole_number(0, BOUND_MAX))(value))
    except BadSpec:
        raise BadSpec(f"must be a whole number from 0 to {BOUND_MAX}, 'infinity' or 'inherit'") from None


def _service(value: object) -> int | str:
    """A port's number, or the name of a service, which the host's list of services has a number for."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if isinstance(value, str) and _SERVICE.fullmatch(value):
        return value
    try:
        return int(_integral(whole_number(0, PORT_MAX))(value))
    except BadSpec:
        raise BadSpec(f"must be a port from 0 to {PORT_MAX}, or the name of a service") from None


def _signal(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise BadSpec("must be a signal's name or number")
    return a_signal(value)


def env_name(value: object) -> str:
    """A name in an environment.

    Raises:
        BadSpec: It is none, or one that the launcher sets.
    """
    if not isinstance(value, str) or not value or "=" in value or "\0" in value:
        raise BadSpec("is empty or holds '=' or NUL")
    if value.startswith("LAUNCH_JOB_"):
        raise BadSpec("is set by the launcher itself; choose another")
    return value


def _check_texts(values: list[object]) -> None:
    for place, value in enumerate(values, 1):
        if not isinstance(value, str) or "\0" in value:
            raise BadSpec(f"must hold texts without NUL only, and is {shown(value)} at element {place}")


def _label(value: object) -> str:
    if isinstance(value, str) and "{" in value:
        raise BadSpec(
            f"is one for all hosts, and is {shown(value)}; {{host}} and its like stand for something in what is run"
        )
    return a_label(value)


def _command(value: object) -> list[str]:
    if isinstance(value, list):
        _check_texts(value)
    return list(words_of_a_command(value))


_COMMAND_SHAPE: Schema = {
    "type": "array",
    "items": {"type": "string", "pattern": _NO_NUL},
    "prefixItems": [{"type": "string", "minLength": 1, "pattern": _NO_NUL}],
    "minItems": 1,
}
_LABEL_PATTERN = rf"^(?!-)(?!(?:[\s\S]*/)?\.{{0,2}}(?:/[\s\S]*)?{END})[A-Za-z0-9_.@:+=~/-]{{1,{LABEL_BYTES_MAX}}}{END}"
LABEL_SHAPE: Schema = {"type": "string", "pattern": _LABEL_PATTERN}
PATH_SHAPE: Schema = {"type": "string", "pattern": f"^/[^\\u0000]*{END}"}
ENV_NAME_SHAPE: Schema = {"type": "string", "pattern": f"^(?!LAUNCH_JOB_)[^=\\u0000]+{END}"}

FLAG = Leaf("boolean", a_flag, {"type": "boolean"})
TRUE = Leaf("true", _true, {"const": True})
TEXT = Leaf("string", a_text, {"type": "string", "minLength": 1, "pattern": _NO_NUL})
ANY_TEXT = Leaf("string", _any_text, {"type": "string", "pattern": _NO_NUL})
PATH = Leaf("absolute path", a_path, PATH_SHAPE)
PROGRAM = Leaf("name or absolute path", _a_program, {"type": "string", "pattern": f"^(/[^\\u0000]*|[^/\\u0000]+){END}"})
COMMAND = Leaf("array of strings", _command, _COMMAND_SHAPE)
ARGUMENTS = Leaf(
    "array of strings", _arguments, {"type": ["array", "null"], "items": {"type": "string", "pattern": _NO_NUL}}
)
LABEL = Leaf("label", _label, LABEL_SHAPE)
SECONDS = Leaf("seconds", duration_s, {"type": "number", "minimum": 0, "maximum": DURATION_S_MAX}, _plain_number)
SOME_SECONDS = Leaf(
    "seconds", some_time_s, {"type": "number", "exclusiveMinimum": 0, "maximum": DURATION_S_MAX}, _plain_number
)
MASK = Leaf(
    "integer, or string as in C",
    a_mask,
    {
        "anyOf": [
            {"type": "integer", "minimum": 0, "maximum": _MASK_MAX},
            {"type": "string", "pattern": f"^(?:{_MASK.pattern}){END}"},
        ]
    },
    lambda mask: f"0{mask:o}",
)
NICE = Leaf("integer", _nice, {"type": "integer", "minimum": -NICE_MAX, "maximum": NICE_MAX})
BOUND = Leaf(
    "integer or `infinity`",
    a_bound,
    {
        "anyOf": [
            {"type": "integer", "minimum": 0, "maximum": BOUND_MAX},
            {"enum": ["infinity", "unlimited", INHERIT]},
        ]
    },
)
SERVICE = Leaf(
    "port or service",
    _service,
    {
        "anyOf": [
            {"type": "integer", "minimum": 0, "maximum": PORT_MAX},
            {"type": "string", "pattern": f"^{_SERVICE.pattern}{END}"},
        ]
    },
    str,
)
PORT = whole(1, PORT_MAX)
SIGNAL = Leaf(
    "signal",
    _signal,
    {
        "anyOf": [
            {"type": "integer", "minimum": 1, "maximum": 64},
            {"type": "string", "pattern": f"^[A-Za-z0-9+-]+{END}"},
        ]
    },
)


def _passive(value: object) -> bool:
    if value is not True:
        raise BadSpec("must be true: sockets are listened on here, and not connected")
    return True


def socket_name(value: object) -> str:
    """The name that a job finds a socket under.

    Raises:
        BadSpec: It is none.
    """
    if not isinstance(value, str) or not value or not value.isprintable() or ":" in value or not value.isascii():
        raise BadSpec("must be of printable ASCII characters other than ':'")
    return value


PASSIVE = Leaf("true", _passive, {"const": True})
SOCKET_NAME_SHAPE: Schema = {"type": "string", "pattern": f"^[ -9;-~]+{END}"}
