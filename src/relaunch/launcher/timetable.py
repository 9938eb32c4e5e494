"""Calls when a time of a job's calendar has come, or has passed without having been seen.

One timer for all of them, on wall time; it notices too when the clock is set. Refuses to know what follows.
"""

import heapq
import time
from collections.abc import Callable, Iterable

from relaunch.launcher.kernel import Timer
from relaunch.launcher.zone import next_start
from relaunch.policy import CalendarEntry


class Timetable:
    """The next time of each name's calendar. Lives on one event loop; costs nothing while no name is in it.

    Args:
        due: Called with a name, once for each time, or for several that have passed.
    """

    def __init__(self, due: Callable[[str], None]) -> None:
        self._due = due
        self._calendars: dict[str, tuple[tuple[CalendarEntry, ...], float]] = {}
        self._times: list[tuple[float, str]] = []
        self._next: dict[str, float] = {}
        self._timer: Timer | None = None

    def put(self, name: str, entries: tuple[CalendarEntry, ...], after: float) -> None:
        """Call at the next time of these entries after this wall time, soon where that has passed."""
        if self._calendars.get(name) != (entries, after):
            self._calendars[name] = entries, after
            self._reckon([name])

    def next(self, name: str) -> float | None:
        """The wall time at which a name is called next, as far as the clock is not set before; None where never."""
        return self._next.get(name)

    def drop(self, name: str) -> None:
        """Call no more for a name; harmless where there is none."""
        self._calendars.pop(name, None)
        self._next.pop(name, None)

    def close(self) -> None:
        """Call no more at all."""
        if self._timer is not None:
            self._timer.close()

    def _reckon(self, names: Iterable[str]) -> None:
        now = time.time()
        for name in names:
            entries, after = self._calendars[name]
            at = next_start(entries, after, now)
            if at is None:
                self._next.pop(name, None)
            else:
                self._next[name] = at
                heapq.heappush(self._times, (at, name))
        self._arm()

    def _arm(self) -> None:
        while self._times and self._next.get(self._times[0][1]) != self._times[0][0]:
            heapq.heappop(self._times)
        if self._times:
            self._timer = self._timer or Timer(time.CLOCK_REALTIME, self._ring)
            self._timer.set(self._times[0][0])

    def _ring(self) -> None:
        """A time has come, or the clock has been set: then what is next may be another time for everyone."""
        now = time.time()
        if not self._times or self._times[0][0] > now:
            self._times.clear()
            self._reckon(self._calendars)
            return
        due = []
        while self._times and self._times[0][0] <= now:
            at, name = heapq.heappop(self._times)
            if self._next.get(name) == at:
                del self._next[name]
                due.append(name)
        # Whoever has heard of it says from when on the next one counts.
        for name in due:
            self._due(name)
        self._arm()
