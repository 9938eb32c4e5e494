"""What may stand in a field of a spec: one reader for each kind of value, and how values become fields and go back.

Knows bounds, units, and the words for what is wrong. Refuses to know which spec has which field.
"""

import re
import signal
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any

from relaunch.errors import BadLabel, BadSignal, BadSpec
from relaunch.labels import check_label

Wire = dict[str, Any]
Reader = Callable[[object], Any]
Bound = int | str | None
Limit = tuple[Bound, Bound]
INHERIT = "inherit"
"""A bound of a resource limit that stays what the launcher's own is."""
LIMIT_NAMES = frozenset(
    "as core cpu data fsize memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split()
)
BOUND_MAX = 2**63 - 1
# Between threads of one process, as to cancel one; glibc's posix_spawn has every program begin with them ignored.
_LIBC_SIGNALS = (32, 33)
_ENV_NAME = re.compile(r"[^=\0]+")
DURATION_S_MAX = 10 * 365 * 86400
_FIELDS: dict[type, tuple[tuple[str, Any], ...]] = {}


def fields_of(kind: type[Any]) -> tuple[tuple[str, Any], ...]:
    """Name and default of each field: kept, as dataclasses.fields searches anew at each call."""
    if kind not in _FIELDS:
        _FIELDS[kind] = tuple((part.name, _default(part)) for part in fields(kind))
    return _FIELDS[kind]


def _default(part: Any) -> object:
    return part.default_factory() if part.default_factory is not MISSING else part.default


def read_fields(readers: Mapping[str, Reader], wire: object, what: str) -> Wire:
    """The checked values of an object's fields; those that are null are left out.

    Args:
        readers: For each field that there is.
        wire: The object.
        what: What it is, for the errors: ``a spec``.

    Raises:
        BadSpec: It is no object, or a field is unknown, of a wrong type or out of range; the line names it.
    """
    if not isinstance(wire, Mapping):
        raise BadSpec("must be an object")
    unknown = sorted(str(name) for name in wire if name not in readers)
    if unknown:
        raise BadSpec(f"{what} has no field {unknown[0]!r}; it has {', '.join(readers)}")
    values: Wire = {}
    for name, value in wire.items():
        if value is None:
            continue
        try:
            values[name] = readers[name](value)
        except BadSpec as error:
            raise BadSpec(f"{name}: {error}") from None
    return values


def signal_number(name: object) -> int:
    """The number of a signal given as ``TERM``, ``SIGTERM``, ``15`` or 15.

    Raises:
        BadSignal: This host knows no such signal.
    """
    text = str(name).upper()
    number = _decimal(text)
    if number in _LIBC_SIGNALS:
        raise BadSignal(f"signal {number} is the C library's own; use another")
    if number is not None and 0 < number < signal.NSIG:
        return number
    known = signal.Signals.__members__.get(text if text.startswith("SIG") else f"SIG{text}")
    if known is None:
        text = str(name)[:40]
        raise BadSignal(f"no signal is called {text!r}; give a name such as TERM or a number below {signal.NSIG}")
    return int(known)


def _decimal(text: str) -> int | None:
    """The number that plain digits stand for; a length is given that ``int`` takes no exception to."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= len(str(BOUND_MAX)) else None


def signal_name(number: int) -> str:
    """The name of a signal without ``SIG``; its number where it has no name, as most real-time signals."""
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return str(number)


def a_text(value: object) -> str:
    """A text that is not empty.

    Raises:
        BadSpec: It is something else.
    """
    if not isinstance(value, str) or not value or "\0" in value:
        raise BadSpec("must be a text that is not empty and holds no NUL")
    return value


def a_path(value: object) -> str:
    """An absolute path: what a job does depends on nobody's current directory.

    Raises:
        BadSpec: It is something else.
    """
    text = a_text(value)
    if not text.startswith("/"):
        raise BadSpec(f"must be an absolute path, and is {text[:80]!r}")
    return text


def words(value: object) -> tuple[str, ...]:
    """A command: a program's name and its arguments.

    Raises:
        BadSpec: It is something else.
    """
    if not isinstance(value, list | tuple) or not value:
        raise BadSpec("must be a list of at least one text")
    if not all(isinstance(item, str) and "\0" not in item for item in value):
        raise BadSpec("must hold texts without NUL only")
    if not value[0]:
        raise BadSpec("must begin with the name of a program")
    return tuple(value)


def listed(reader: Reader) -> Callable[[object], tuple[Any, ...]]:
    """A reader of lists of what ``reader`` reads, one reading for each that is told apart."""

    def read(value: object) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise BadSpec("must be a list")
        return tuple(dict.fromkeys(reader(item) for item in value))

    return read


def flags_by(reader: Reader) -> Callable[[object], dict[str, bool]]:
    """A reader of objects of true and false, whose names ``reader`` reads."""

    def read(value: object) -> dict[str, bool]:
        if not isinstance(value, Mapping):
            raise BadSpec("must be an object of true and false")
        return {reader(name): a_flag(content) for name, content in value.items()}

    return read


def environment(value: object) -> dict[str, str]:
    """What is set in an environment.

    Raises:
        BadSpec: It is something else, or sets what the launcher sets.
    """
    if not isinstance(value, Mapping):
        raise BadSpec("must be an object of texts")
    for name, content in value.items():
        if not isinstance(name, str) or not _ENV_NAME.fullmatch(name):
            raise BadSpec(f"holds the name {name!r}; a name is not empty and has no '=' or NUL")
        if not isinstance(content, str) or "\0" in content:
            raise BadSpec(f"{name} must be a text without NUL")
        if name.startswith("LAUNCH_JOB_"):
            raise BadSpec(f"{name} is set by the launcher itself; choose another name")
    return dict(value)


def a_flag(value: object) -> bool:
    """True or false.

    Raises:
        BadSpec: It is something else.
    """
    if not isinstance(value, bool):
        raise BadSpec("must be true or false")
    return value


def a_label(value: object) -> str:
    """A job's label.

    Raises:
        BadSpec: It is none.
    """
    try:
        return check_label(value)
    except BadLabel as error:
        raise BadSpec(str(error)) from None


def one_of(*choices: str) -> Callable[[object], str]:
    """A reader of one of these words."""

    def read(value: object) -> str:
        if value not in choices:
            raise BadSpec(f"must be one of {', '.join(choices)}")
        return str(value)

    return read


def whole(low: int, high: int) -> Callable[[object], int]:
    """A reader of whole numbers within bounds."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise BadSpec(f"must be a whole number from {low} to {high}")
        return value

    return read


def number(low: float, high: float) -> Callable[[object], float]:
    """A reader of numbers within bounds."""

    def read(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise BadSpec(f"must be a number from {low:g} to {high:g}")
        return float(value)

    return read


def duration_s(value: object) -> float:
    """A length of time in seconds.

    Raises:
        BadSpec: Not a number, negative, infinite or over ten years.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= DURATION_S_MAX:
        raise BadSpec("must be a number of seconds from 0 to ten years")
    return float(value)


def some_time_s(value: object) -> float:
    """A length of time in seconds that is not 0.

    Raises:
        BadSpec: As ``duration_s``, or 0.
    """
    if duration_s(value) == 0:
        raise BadSpec("must be more than 0 seconds")
    return duration_s(value)


def a_signal(value: object) -> str:
    """A signal's name.

    Raises:
        BadSpec: There is none of that name.
    """
    try:
        return signal_name(signal_number(value))
    except BadSignal as error:
        raise BadSpec(str(error)) from None


def _bound(text: str) -> Bound:
    if text in ("infinity", "unlimited"):
        return None
    if text == INHERIT:
        return INHERIT
    value = _decimal(text)
    if value is None or value > BOUND_MAX:
        raise BadSpec(f"has {text[:40]!r} where a whole number, 'infinity' or 'inherit' belongs")
    return value


def parse_limit(name: str, text: object) -> Limit:
    """A resource limit, soft and hard, from ``N`` or ``SOFT:HARD``; None is infinity, see also ``INHERIT``.

    Raises:
        BadSpec: No such resource, no such value, or a soft limit over the hard one.
    """
    if name not in LIMIT_NAMES:
        raise BadSpec(f"no resource is called {name!r}; there are {', '.join(sorted(LIMIT_NAMES))}")
    first, _, second = str(text).partition(":")
    soft, hard = _bound(first), _bound(second or first)
    if isinstance(hard, int) and (soft is None or (isinstance(soft, int) and soft > hard)):
        raise BadSpec(f"{name} has a soft limit over its hard limit: {text}")
    return soft, hard


def limits(value: object) -> dict[str, Limit]:
    """Resource limits by name.

    Raises:
        BadSpec: As ``parse_limit``.
    """
    if not isinstance(value, Mapping):
        raise BadSpec("must be an object of texts")
    return {str(name): parse_limit(str(name), text) for name, text in value.items()}


def limit_text(limit: Limit) -> str:
    """A resource limit as ``parse_limit`` reads it."""
    return ":".join("infinity" if bound is None else str(bound) for bound in limit)
