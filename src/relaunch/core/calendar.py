"""The times of a calendar: which minute comes next.

Rules: an entry names minutes of a local wall clock, as launchd's StartCalendarInterval; what it leaves out is any; day
and weekday are alternatives where both are given, as in crontab(5). Refuses to know zones: a local time comes in and
goes out.
"""

from collections.abc import Iterable, Iterator
from datetime import MAXYEAR, date, datetime, time, timedelta

from relaunch.policy import CalendarEntry

# From one 29 February to the next there are eight years at most; a date that has not come by then never comes.
_MONTHS_MAX = 8 * 12 + 1
_DAY = timedelta(days=1)


def next_time(entries: Iterable[CalendarEntry], after: datetime) -> datetime | None:
    """The first minute that one of the entries names, and that begins after this time.

    Returns:
        None where there is none, as for a 30 February.
    """
    return min((at for entry in entries if (at := _next(entry, after)) is not None), default=None)


def _next(entry: CalendarEntry, after: datetime) -> datetime | None:
    try:
        first = after.replace(second=0, microsecond=0, fold=0) + timedelta(minutes=1)
    except OverflowError:
        return None
    for day in _days(entry, first.date()):
        at = _time(entry, first.time() if day == first.date() else time.min)
        if at is not None:
            return datetime.combine(day, at)
    return None


def _days(entry: CalendarEntry, first: date) -> Iterator[date]:
    """The days of an entry, from one on."""
    month = first.replace(day=1)
    for _ in range(_MONTHS_MAX):
        day = max(month, first)
        while entry.month in (None, month.month) and day.month == month.month:
            if _is_on(entry, day):
                yield day
            if day == date.max:
                return
            day += _DAY
        if (month.year, month.month) == (MAXYEAR, 12):
            return
        month = (month + 31 * _DAY).replace(day=1)


def _is_on(entry: CalendarEntry, day: date) -> bool:
    on_day = entry.day == day.day
    on_weekday = entry.weekday is not None and entry.weekday % 7 == day.isoweekday() % 7
    if entry.day is None:
        return entry.weekday is None or on_weekday
    return on_day or on_weekday


def _time(entry: CalendarEntry, earliest: time) -> time | None:
    """The first time of an entry on a day, from one on."""
    for hour in range(earliest.hour, 24) if entry.hour is None else (entry.hour,):
        least = earliest.minute if hour == earliest.hour else 0
        minute = least if entry.minute is None else entry.minute
        if hour >= earliest.hour and minute >= least:
            return time(hour, minute)
    return None
