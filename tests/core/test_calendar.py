"""The times of a calendar."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.examples import repeatable, some_of

from relaunch.core.calendar import next_time
from relaunch.policy import CalendarEntry

MINUTE = timedelta(minutes=1)
SPAN_DAYS = 2


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("after", "entry", "expected"),
    [
        ("2026-03-10 02:59:59.9", {"hour": 3, "minute": 0}, "2026-03-10 03:00"),
        ("2026-03-10 03:00", {"hour": 3, "minute": 0}, "2026-03-11 03:00"),
        ("2026-03-10 03:00:30", {"hour": 3, "minute": 1}, "2026-03-10 03:01"),
        ("2026-03-10 03:10", {"hour": 3}, "2026-03-10 03:11"),
        ("2026-03-10 03:59", {"hour": 3}, "2026-03-11 03:00"),
        ("2026-03-10 03:10", {"minute": 5}, "2026-03-10 04:05"),
        ("2026-03-10 23:10", {"minute": 5}, "2026-03-11 00:05"),
        ("2026-03-10 03:10:10", {}, "2026-03-10 03:11"),
        ("2026-12-31 23:59", {}, "2027-01-01 00:00"),
        ("2026-04-30 12:00", {"day": 31, "hour": 0, "minute": 0}, "2026-05-31 00:00"),
        ("2026-01-31 12:00", {"month": 1, "hour": 0, "minute": 0}, "2027-01-01 00:00"),
        ("2026-01-01 00:00", {"day": 29, "month": 2, "hour": 0, "minute": 0}, "2028-02-29 00:00"),
        ("2096-02-29 00:00", {"day": 29, "month": 2, "hour": 0, "minute": 0}, "2104-02-29 00:00"),
        ("2026-03-10 00:00", {"weekday": 0, "hour": 0, "minute": 0}, "2026-03-15 00:00"),
        ("2026-03-10 00:00", {"weekday": 7, "hour": 0, "minute": 0}, "2026-03-15 00:00"),
        ("2026-03-10 00:00", {"weekday": 6, "hour": 0, "minute": 0}, "2026-03-14 00:00"),
        ("2026-03-10 00:00", {"weekday": 5, "day": 12, "hour": 0, "minute": 0}, "2026-03-12 00:00"),
        ("2026-03-12 00:00", {"weekday": 5, "day": 12, "hour": 0, "minute": 0}, "2026-03-13 00:00"),
    ],
)
def test_the_next_time(after: str, entry: dict[str, int], expected: str) -> None:
    """[S40] What is left out is any; a weekday beside a day is another way to say when."""
    assert next_time([CalendarEntry(**entry)], at(after)) == at(expected)


def test_the_soonest_of_several() -> None:
    """[S40] Any entry will do, and none is no time at all."""
    entries = [CalendarEntry(hour=7, minute=0), CalendarEntry(hour=5, minute=30), CalendarEntry(day=30, month=2)]
    assert next_time(entries, at("2026-03-10 00:00")) == at("2026-03-10 05:30")
    assert next_time(entries, at("2026-03-10 06:00")) == at("2026-03-10 07:00")
    assert next_time([], at("2026-03-10 00:00")) is None


@pytest.mark.parametrize(("day", "month"), [(30, 2), (31, 2), (31, 4), (31, 6), (31, 9), (31, 11)])
def test_a_date_that_never_comes(day: int, month: int) -> None:
    """[S40] The search for it ends."""
    assert next_time([CalendarEntry(day=day, month=month)], at("2026-03-10 00:00")) is None


@pytest.mark.parametrize(
    ("after", "entry", "expected"),
    [
        ("9999-12-31 23:59", {}, None),
        ("9999-12-31 23:58", {}, "9999-12-31 23:59"),
        ("9999-12-31 12:00", {"hour": 3}, None),
        ("9999-12-31 12:00", {"month": 11}, None),
    ],
)
def test_the_end_of_time(after: str, entry: dict[str, int], expected: str | None) -> None:
    """[S40] A clock may be set to anything."""
    assert next_time([CalendarEntry(**entry)], at(after)) == (at(expected) if expected else None)


def names(entry: CalendarEntry, moment: datetime) -> bool:
    """Whether an entry names this minute, said in another way."""
    time = (entry.month, moment.month), (entry.hour, moment.hour), (entry.minute, moment.minute)
    day = moment.day == entry.day
    weekday = moment.weekday() == ((entry.weekday or 0) - 1) % 7
    chosen = [fits for said, fits in ((entry.day, day), (entry.weekday, weekday)) if said is not None]
    return all(said in (None, is_now) for said, is_now in time) and (any(chosen) or not chosen)


entries = some_of(
    CalendarEntry,
    minute=st.integers(0, 59),
    hour=st.integers(0, 23),
    day=st.sampled_from([1, 2, 28, 29, 30, 31]),
    weekday=st.integers(0, 7),
    month=st.sampled_from([1, 2, 3, 12]),
)
# Near the ends of months, where mistakes are.
moments = st.builds(
    lambda year, month, minutes: datetime(year, month, 1) + timedelta(minutes=minutes),  # noqa: DTZ001 - local times
    st.sampled_from([2024, 2026, 2100]),
    st.sampled_from([1, 2, 3]),
    st.integers(-2 * 1440, 1440),
)


@repeatable
@given(st.lists(entries, min_size=1, max_size=3), moments)
def test_it_is_the_first_minute_that_any_entry_names(chosen: list[CalendarEntry], after: datetime) -> None:
    """[S40] As looking at every minute of some days would find it."""
    first = after.replace(second=0) + MINUTE
    minutes = (first + number * MINUTE for number in range(SPAN_DAYS * 1440))
    expected = next((minute for minute in minutes if any(names(entry, minute) for entry in chosen)), None)
    found = next_time(chosen, after)
    if expected is not None:
        assert found == expected
    else:
        assert found is None or (found > after + timedelta(days=SPAN_DAYS) - MINUTE)
    if found is not None:
        assert any(names(entry, found) for entry in chosen)
