"""The parameters of a call, taken apart and checked; each parser here is for one kind of value.

Refuses to know the methods.
"""

from collections.abc import Callable, Mapping
from string import ascii_letters, digits
from typing import Any

from relaunch.errors import BadCall, BadSpec
from relaunch.fields import Wire

# What SQLite takes for an integer.
_COUNT_MAX = 2**63 - 1
_REQUEST_CHARACTERS_MAX = 100
_REQUEST_CHARACTERS = frozenset(ascii_letters + digits + "-_")
Parse = Callable[[object], Any]


def take(parameters: Wire, required: Mapping[str, Parse], optional: Mapping[str, Parse]) -> list[Any]:
    """The values of a call's parameters, the required ones first, None for an optional one that was not given.

    Raises:
        BadCall: One is missing, unknown or of a wrong type; the line names it.
    """
    unknown = set(parameters) - set(required) - set(optional)
    if unknown:
        raise BadCall(f"there is no parameter {min(unknown)!r}")
    values = []
    for name, parse in {**required, **optional}.items():
        value = parameters.get(name)
        if value is None and name in required:
            raise BadCall(f"parameter {name!r} is missing")
        try:
            values.append(None if value is None else parse(value))
        except (BadCall, BadSpec) as error:
            raise type(error)(f"parameter {name!r} {error}") from None
    return values


def texts(value: object) -> list[str]:
    """A list of texts.

    Raises:
        BadCall: It is not.
    """
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise BadCall("must be a list of texts")
    return value


def a_text(value: object) -> str:
    """A text.

    Raises:
        BadCall: It is not.
    """
    if not isinstance(value, str):
        raise BadCall("must be a text")
    return value


def a_request(value: object) -> str:
    """The id of a request.

    Raises:
        BadCall: It is none.
    """
    if not isinstance(value, str) or not 1 <= len(value) <= _REQUEST_CHARACTERS_MAX or set(value) - _REQUEST_CHARACTERS:
        raise BadCall(f"must be 1 to {_REQUEST_CHARACTERS_MAX} letters, digits, '-' and '_'")
    return value


def a_flag(value: object) -> bool:
    """True or false.

    Raises:
        BadCall: It is not.
    """
    if not isinstance(value, bool):
        raise BadCall("must be true or false")
    return value


def a_count(value: object) -> int:
    """A whole number that is not negative.

    Raises:
        BadCall: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _COUNT_MAX:
        raise BadCall(f"must be a whole number from 0 to {_COUNT_MAX}")
    return value


def an_object(value: object) -> Mapping[str, Any]:
    """An object.

    Raises:
        BadCall: It is not.
    """
    if not isinstance(value, Mapping):
        raise BadCall("must be an object")
    return value


def wall_time(value: object) -> float:
    """A wall time in seconds.

    Raises:
        BadCall: It is not a number, or not a time.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**40:
        raise BadCall("must be a time in seconds since the epoch")
    return float(value)
