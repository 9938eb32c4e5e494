"""One timer for any number of deadlines on CLOCK_BOOTTIME, which goes on in suspend.

Refuses to know what is due: whoever set a deadline looks whether it still holds.
"""

import heapq
import time
from collections.abc import Callable

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
        self._deadlines: list[tuple[float, str]] = []
        self._timer = Timer(time.CLOCK_BOOTTIME, self._ring)

    def set(self, at: float, name: str) -> None:
        """Call at this time; earlier calls for the same name stand."""
        heapq.heappush(self._deadlines, (at, name))
        if self._deadlines[0] == (at, name):
            self._timer.set(at)

    def _ring(self) -> None:
        now = boottime()
        while self._deadlines and self._deadlines[0][0] <= now:
            self._due(*heapq.heappop(self._deadlines))
        if self._deadlines:
            self._timer.set(self._deadlines[0][0])
