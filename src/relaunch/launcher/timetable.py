"""Calls when a time of a job's calendar has come, or has passed without having been seen.

One timer for all of them, on wall time; it notices too when the clock is set. Refuses to know what follows.
"""

import time
from collections.abc import Callable, Iterable

from relaunch.core.deadlines import Deadlines
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
        self._times = Deadlines()
        self._timer: Timer | None = None

    def put(self, name: str, entries: tuple[CalendarEntry, ...], after: float) -> None:
        """Call at the next time of these entries after this wall time, soon where that has passed."""
        if self._calendars.get(name) != (entries, after):
            self._calendars[name] = entries, after
            self._reckon([name])

    def next(self, name: str) -> float | None:
        """The wall time at which a name is called next, as far as the clock is not set before; None where never."""
        return self._times.get(name)

    def drop(self, name: str) -> None:
        """Call no more for a name; harmless where there is none."""
        self._calendars.pop(name, None)
        self._times.drop(name)

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
                self._times.drop(name)
            else:
                self._times.set(name, at)
        self._arm()

    def _arm(self) -> None:
        first = self._times.first
        if first is not None:
            self._timer = self._timer or Timer(time.CLOCK_REALTIME, self._ring)
            self._timer.set(first)

    def _ring(self) -> None:
        """A time has come, or the clock has been set: then what is next may be another time for everyone."""
        due = self._times.take_due(time.time())
        if not due:
            self._reckon(self._calendars)
            return
        # Whoever has heard of it says from when on the next one counts.
        for _, name in due:
            self._due(name)
        self._arm()
