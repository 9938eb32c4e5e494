"""The times of a calendar in real zones."""

import time
from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from relaunch.launcher.zone import SET_BACK_S_MAX, next_start
from relaunch.policy import CalendarEntry

OSLO, LORD_HOWE, NUUK, UTC = "Europe/Oslo", "Australia/Lord_Howe", "America/Nuuk", "UTC"


@pytest.fixture(autouse=True)
def zone_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield
    monkeypatch.undo()
    time.tzset()


def at(text: str, zone: str) -> float:
    """When it is that time there; a `+` stands for the second time in autumn."""
    local = datetime.fromisoformat(text.rstrip("+"))
    return local.replace(tzinfo=ZoneInfo(zone), fold=int(text.endswith("+"))).timestamp()


@pytest.mark.parametrize(
    ("zone", "after", "entry", "expected"),
    [
        (UTC, "2026-03-10 00:00", {"hour": 3, "minute": 0}, "2026-03-10 03:00"),
        (OSLO, "2026-03-10 00:00", {"hour": 3, "minute": 0}, "2026-03-10 03:00"),
        (OSLO, "2026-03-10 00:00", {"hour": 3, "minute": 0, "month": 8}, "2026-08-01 03:00"),
        (OSLO, "2026-03-10 00:00", {"day": 30, "month": 2}, None),
        # 02:00 is 03:00 there on 29 March
        (OSLO, "2026-03-29 01:00", {"hour": 2, "minute": 30}, "2026-03-29 03:00"),
        (OSLO, "2026-03-29 01:59:59", {"hour": 2}, "2026-03-29 03:00"),
        (OSLO, "2026-03-29 03:00", {"hour": 2}, "2026-03-30 02:00"),
        (OSLO, "2026-03-29 01:59:59", {"hour": 3, "minute": 0}, "2026-03-29 03:00"),
        (OSLO, "2026-03-29 01:59:59", {"minute": 30}, "2026-03-29 03:00"),
        (OSLO, "2026-03-29 03:00", {"minute": 30}, "2026-03-29 03:30"),
        (OSLO, "2026-03-29 01:50", {"minute": 0}, "2026-03-29 03:00"),
        # 03:00 is 02:00 there on 25 October
        (OSLO, "2026-10-25 02:00", {"hour": 2, "minute": 30}, "2026-10-25 02:30"),
        (OSLO, "2026-10-25 02:30", {"hour": 2, "minute": 30}, "2026-10-26 02:30"),
        (OSLO, "2026-10-25 02:10+", {"hour": 2, "minute": 30}, "2026-10-26 02:30"),
        (OSLO, "2026-10-25 02:10+", {"hour": 2}, "2026-10-26 02:00"),
        (OSLO, "2026-10-25 02:10", {"hour": 3, "minute": 0}, "2026-10-25 03:00"),
        (OSLO, "2026-10-25 01:45", {"minute": 30}, "2026-10-25 02:30"),
        (OSLO, "2026-10-25 02:30", {"minute": 30}, "2026-10-25 02:30+"),
        (OSLO, "2026-10-25 02:30+", {"minute": 30}, "2026-10-25 03:30"),
        (OSLO, "2026-10-25 02:30", {"minute": 0}, "2026-10-25 02:00+"),
        (OSLO, "2026-10-25 02:59", {}, "2026-10-25 02:00+"),
        (OSLO, "2026-10-25 02:59+", {}, "2026-10-25 03:00"),
        # by half an hour, on 4 October and 5 April
        (LORD_HOWE, "2026-10-04 01:00", {"hour": 2, "minute": 15}, "2026-10-04 02:30"),
        (LORD_HOWE, "2026-04-05 01:45", {"minute": 45}, "2026-04-05 01:45+"),
        # before midnight, on 28 March and 24 October
        (NUUK, "2026-03-28 21:00", {"hour": 23, "minute": 15}, "2026-03-29 00:00"),
        (NUUK, "2026-10-24 23:30", {"hour": 23, "minute": 30}, "2026-10-25 23:30"),
        (NUUK, "2026-10-24 23:30", {"minute": 30}, "2026-10-24 23:30+"),
    ],
)
def test_the_next_start(
    monkeypatch: pytest.MonkeyPatch, zone: str, after: str, entry: dict[str, int], expected: str | None
) -> None:
    """[S40] What does not exist starts once, right after the gap; what exists twice starts once, or each hour."""
    monkeypatch.setenv("TZ", zone)
    start = at(after, zone)
    assert next_start([CalendarEntry(**entry)], start, start) == (at(expected, zone) if expected else None)


@pytest.mark.parametrize(("zone", "year", "hours"), [(OSLO, 2026, 8760), (LORD_HOWE, 2026, 8760), (UTC, 2028, 8784)])
def test_a_year_of_starts(monkeypatch: pytest.MonkeyPatch, zone: str, year: int, hours: int) -> None:
    """[S40] Each hour of a year has one start, or each day."""
    monkeypatch.setenv("TZ", zone)
    every_hour, every_day = 0, 0
    now, end = at(f"{year}-01-01 00:00", zone) - 1, at(f"{year + 1}-01-01 00:00", zone)
    while (now := next_start([CalendarEntry(minute=0)], now, now) or end) < end:
        every_hour += 1
    now = at(f"{year}-01-01 00:00", zone) - 1
    while (now := next_start([CalendarEntry(hour=2, minute=10)], now, now) or end) < end:
        every_day += 1
    # An hour that is half as long, or half as long again, has a start of its own there.
    assert (abs(every_hour - hours) <= (zone == LORD_HOWE), every_day) == (True, hours // 24)


def test_a_clock_that_was_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """[S40] By little: nothing is started twice. By much: what is ahead counts."""
    monkeypatch.setenv("TZ", UTC)
    now, daily = at("2026-03-10 02:00", UTC), [CalendarEntry(hour=3, minute=0)]
    assert next_start(daily, now + 3700, now) == at("2026-03-11 03:00", UTC)
    assert next_start(daily, now + SET_BACK_S_MAX + 3700, now) == at("2026-03-10 03:00", UTC)
