"""When the times of a calendar are, in the zone of this host: wall time in and out.

Rules: a time that the clocks pass over, as in spring, is the moment at which they do; one that comes twice, as in
autumn, is its first. Only an entry for every hour is meant for each of the two. Refuses to know whose calendar it is.
"""

import time
from collections.abc import Iterable
from datetime import datetime, timedelta

from relaunch.core.calendar import next_time
from relaunch.policy import CalendarEntry

# A clock that was set back by no more has not forgotten what was started before, as in cron(8).
SET_BACK_S_MAX = 3 * 3600.0
_TICK = timedelta(microseconds=1)


def next_start(entries: Iterable[CalendarEntry], after: float, now: float) -> float | None:
    """The first time of a calendar after one that has been, or None where none comes.

    Args:
        entries: The calendar's.
        after: Wall time from which on times count.
        now: Wall time; what comes is counted from here where the clock has been set back by much since ``after``.
    """
    time.tzset()  # the host's zone may be another one by now
    start = now if after > now + SET_BACK_S_MAX else after
    return min((at for entry in entries if (at := _next(entry, start)) is not None), default=None)


def _next(entry: CalendarEntry, after: float) -> float | None:
    here = _local(after)
    if entry.hour is None:
        return _next_of_each_hour(entry, after, here)
    found = next_time((entry,), here)
    while found is not None:
        at = _first(found)
        if at > after:
            return at
        found = next_time((entry,), found)
    return None


def _next_of_each_hour(entry: CalendarEntry, after: float, here: datetime) -> float | None:
    found = next_time((entry,), here)
    at = None if found is None else _first(found.replace(fold=here.fold))
    again = here.replace(fold=1).timestamp()
    if here.fold or again - after < 1.0:
        return at
    # The hour in which this is comes once more; that may be sooner.
    turn = _change_between(after, again)
    second = next_time((entry,), _local(turn) - _TICK)
    if second is None:
        return at
    at_second = second.replace(fold=1).timestamp()
    return at_second if at is None or at >= turn else at


def _first(local: datetime) -> float:
    """When a local time is; where it is passed over, the moment of that."""
    at = local.timestamp()
    if not _is_passed_over(local):
        return at
    return _change_between(*sorted((at, local.replace(fold=1 - local.fold).timestamp())))


def _is_passed_over(local: datetime) -> bool:
    return _local(local.timestamp()).replace(fold=local.fold) != local


def _change_between(before: float, after: float) -> float:
    """The second at which the zone's offset changes; it does so once between these."""
    low, high = int(before), int(after) + 1
    offset = _offset(low)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset(middle) == offset else (low, middle)
    return float(high)


def _offset(at: float) -> int:
    return time.localtime(at).tm_gmtoff


def _local(at: float) -> datetime:
    return datetime.fromtimestamp(at)  # noqa: DTZ006 - the clocks on the walls here are what is meant
