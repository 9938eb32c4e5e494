"""Timers of the kernel, and the timetable over them: real clocks, nothing faked."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from relaunch.launcher.kernel import Timer
from relaunch.launcher.timetable import Timetable
from relaunch.policy import CalendarEntry

DEADLINE_S = 20.0
EVERY_MINUTE = (CalendarEntry(),)


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), DEADLINE_S))


def entry(at: float) -> CalendarEntry:
    """The minute in which a wall time is, each year."""
    local = time.localtime(at)
    return CalendarEntry(minute=local.tm_min, hour=local.tm_hour, day=local.tm_mday, month=local.tm_mon)


@pytest.mark.parametrize("clock", [time.CLOCK_BOOTTIME, time.CLOCK_REALTIME])
def test_a_timer_rings_at_its_time_and_only_then(clock: int) -> None:
    """[S24] Also for a time that has passed; the last time that was set is the one."""

    async def test() -> None:
        rings: asyncio.Queue[float] = asyncio.Queue()
        timer = Timer(clock, lambda: rings.put_nowait(time.clock_gettime(clock)))
        for wanted in (time.clock_gettime(clock) - 5.0, 0.0, time.clock_gettime(clock) + 0.03):
            timer.set(time.clock_gettime(clock) + 3600.0)
            timer.set(wanted)
            assert await rings.get() >= wanted
        timer.set(time.clock_gettime(clock) - 1.0)
        timer.set(time.clock_gettime(clock) + 3600.0)
        assert rings.empty()
        timer.close()

    run(test)


def test_times_that_have_passed_are_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """[S29] Thousands of them: one start; then nothing until the next time."""

    async def test() -> None:
        told: asyncio.Queue[str] = asyncio.Queue()
        table = Timetable(told.put_nowait)
        now = time.time()
        table.put("missed", EVERY_MINUTE, now - 30 * 86400)
        table.put("never", (CalendarEntry(day=30, month=2),), now - 30 * 86400)
        table.put("later", (entry(now + 86400),), now)
        table.put("gone", EVERY_MINUTE, now - 3600)
        table.drop("gone")
        table.drop("gone")
        assert await told.get() == "missed"
        table.put("missed", (entry(now + 86400),), time.time())
        table.put("again", EVERY_MINUTE, now - 120)
        table.put("again", EVERY_MINUTE, now - 120)
        assert await told.get() == "again"
        assert told.empty()
        table.close()

    run(test)


def test_a_table_that_hears_of_a_clock_that_was_set_reckons_anew() -> None:
    """[S40] What rings before anything is due was no time that came."""

    async def test() -> None:
        told: list[str] = []
        table = Timetable(told.append)
        later = time.time() + 86400
        table.put("a", (entry(later),), time.time())
        before = table.next("a")
        table._ring()
        assert told == []
        assert table.next("a") == before
        assert before is not None
        assert 0 <= later - before < 60
        table.close()

    run(test)
