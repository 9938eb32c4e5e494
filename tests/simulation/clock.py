"""Virtual time: what happens when, and nothing else.

Knows the order of things. Refuses to know what they are.
"""

import heapq
from collections.abc import Callable
from typing import Any

Callback = Callable[..., None]


class Schedule:
    """Things that will happen. ``run`` lets time pass."""

    def __init__(self) -> None:
        self.now = 0.0
        self._count = 0
        self._heap: list[tuple[float, int, Callback, tuple[Any, ...]]] = []

    def after(self, delay: float, callback: Callback, *args: Any) -> None:
        """Have it called when that many seconds have passed; what is due at one time keeps its order."""
        self._count += 1
        heapq.heappush(self._heap, (self.now + delay, self._count, callback, args))

    def run(self, until: float, perform: Callable[[Callback, tuple[Any, ...]], None]) -> None:
        """Perform all that is due by then."""
        while self._heap and self._heap[0][0] <= until:
            self.now, _, callback, args = heapq.heappop(self._heap)
            perform(callback, args)
        self.now = until


class Pipe:
    """A stream between two processes: whatever the delay of each message, they arrive in order."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._last = 0.0

    def send(self, delay: float, callback: Callback, *args: Any) -> None:
        """Deliver after that delay, or after the message before."""
        self._last = max(self._last, self._schedule.now + delay)
        self._schedule.after(self._last - self._schedule.now, callback, *args)
