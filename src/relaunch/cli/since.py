"""What ``--since`` means: a sequence number, or a time.

Knows the forms that a person types. Refuses to know what is read from there on.
"""

from __future__ import annotations

from relaunch.errors import Usage

_SEQUENCE_DIGITS_MAX = 19
_ROUNDING_S = 1e-6
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def parse_since(command: str, given: str | None, now: float) -> tuple[int | None, float | None]:
    """A sequence number, or a time in seconds since the epoch.

    Args:
        command: Whose option it is.
        given: Digits alone are a sequence number; ``10m`` and the like are that long ago; else an ISO 8601 time, local
            where it says no zone.
        now: Seconds since the epoch.

    Raises:
        Usage: None of these.
    """
    if given is None:
        return None, None
    digits = given[:-1]
    if given.isascii() and given.isdecimal() and len(given) < _SEQUENCE_DIGITS_MAX:
        return int(given), None
    if digits.isascii() and digits.isdecimal() and given[-1] in _UNITS_S:
        return None, now - int(digits) * _UNITS_S[given[-1]]
    import datetime as dt

    try:
        # An event's time is shown rounded to a microsecond, which may be later than it was.
        return None, dt.datetime.fromisoformat(given).timestamp() - _ROUNDING_S
    except (ValueError, OverflowError):
        raise Usage(
            f"{command}: --since {given!r} is no sequence number, no time ago such as 10m, 2h or 1d, "
            "and no ISO 8601 time"
        ) from None
