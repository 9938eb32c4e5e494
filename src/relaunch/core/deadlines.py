"""Many deadlines, of which the earliest matters.

Knows names and times. Refuses to know which clock they are on, and who waits.
"""

import heapq

# What is out of date and still kept beside what counts, at most: as much again, and a little more.
_SPARE = 64


class Deadlines:
    """A time for each name, or none; the one that was set last is the one."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def get(self, name: str) -> float | None:
        """A name's deadline, None where it has none."""
        return self._at.get(name)

    def set(self, name: str, at: float) -> None:
        """Give a name a deadline."""
        if self._at.get(name) != at:
            self._at[name] = at
            heapq.heappush(self._heap, (at, name))
            self._tidy()

    def drop(self, name: str) -> None:
        """A name has no deadline any more; harmless where it had none."""
        if self._at.pop(name, None) is not None:
            self._tidy()

    @property
    def first(self) -> float | None:
        """The earliest of all, None where there is none."""
        while self._heap and not self._counts(*self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take_due(self, now: float) -> list[tuple[float, str]]:
        """The deadlines that have come by this time, in order, each with its name; they are then no more."""
        due = []
        while self._heap and self._heap[0][0] <= now:
            at, name = heapq.heappop(self._heap)
            if self._counts(at, name):
                del self._at[name]
                due.append((at, name))
        return due

    def _counts(self, at: float, name: str) -> bool:
        return self._at.get(name) == at

    def _tidy(self) -> None:
        if len(self._heap) > 2 * len(self._at) + _SPARE:
            self._heap = [(at, name) for name, at in self._at.items()]
            heapq.heapify(self._heap)
