"""One timer for any number of deadlines on CLOCK_BOOTTIME, which goes on in suspend.

Refuses to know what is due: whoever set a deadline looks whether it still holds.
"""

import time
from collections.abc import Callable

from relaunch.core.deadlines import Deadlines
from relaunch.launcher.kernel import Timer


def boottime() -> float:
    """CLOCK_BOOTTIME in seconds: the ``now`` of every deadline, the same for every launcher of one boot."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Alarm:
    """Calls back when a deadline has come. Lives on one event loop; wakes it for the earliest deadline only.

    Args:
        due: Called with the time and the name that were set.
    """

    def __init__(self, due: Callable[[float, str], None]) -> None:
        self._due = due
        self._deadlines = Deadlines()
        self._timer = Timer(time.CLOCK_BOOTTIME, self._ring)

    def set(self, name: str, at: float | None) -> None:
        """Call at this time, and at no time that was set for this name before; None for no time at all."""
        if at is None:
            self._deadlines.drop(name)
            return
        first = self._deadlines.first
        self._deadlines.set(name, at)
        if first is None or at < first:
            self._timer.set(at)

    def _ring(self) -> None:
        for at, name in self._deadlines.take_due(boottime()):
            self._due(at, name)
        if self._deadlines.first is not None:
            self._timer.set(self._deadlines.first)
