"""What waits for the application: one event at a time, in order from each source, and a turn for each source.

A source that floods waits behind the others for its next turn, and is not read from while too much of its own waits, or
its share of too much of all. Refuses to know where events come from and what is done when one has been handled.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from relaunch.core.delivery import Item
from relaunch.event import Event

# As JSON; what Python makes of it takes several times as much.
SOURCE_BYTES_MAX = 8 * 1024 * 1024
ALL_BYTES_MAX = 64 * 1024 * 1024


@dataclass(slots=True, eq=False)
class Waiting:
    """Something that waits.

    Attributes:
        event: What the application gets; None where it is not told.
        item: What it is in the stream; None for what the subscriber itself has to say.
        size_bytes: What is free again once it is taken.
    """

    event: Event | None
    item: Item | None
    size_bytes: int = 0


class Origin(Protocol):
    """Whatever a lane is filled from."""

    def given(self, waiting: Waiting) -> None:
        """The application is to get it, as soon as it need not wait."""

    def done(self) -> None:
        """The application is done with it."""

    def retry(self) -> None:
        """Go on with what could not be put down.

        Raises:
            Refused: It still cannot.
        """

    @property
    def is_blocked(self) -> bool:
        """Whether the application must wait before it gets the next event of any source."""

    def pause(self) -> None:
        """Read nothing more from there."""

    def resume(self) -> None:
        """Read again."""


class Lane:
    """What waits from one source."""

    def __init__(self, handover: "Handover", origin: Origin) -> None:
        self._handover = handover
        self.origin = origin
        self.waiting: deque[Waiting] = deque()
        self.size_bytes = 0
        self.paused = False
        handover.lanes.append(self)

    def put(self, waiting: Waiting) -> None:
        """Let it wait behind what waits already."""
        self.waiting.append(waiting)
        if len(self.waiting) == 1:
            self._handover.ready.append(self)
            self._handover.wake()

    def charge(self, size_bytes: int) -> None:
        """So many bytes more wait; they are free when what is the last now has been taken."""
        if self.waiting:
            self.waiting[-1].size_bytes += size_bytes
            self.size_bytes += size_bytes
            self._handover.size_bytes += size_bytes
            self.regulate()

    def take(self, waiting: Waiting) -> Waiting:
        """Let one of them wait no more."""
        self.waiting.remove(waiting)
        self.size_bytes -= waiting.size_bytes
        self._handover.size_bytes -= waiting.size_bytes
        return waiting

    def regulate(self) -> None:
        """Pause or resume the source, as what waits demands."""
        share = SOURCE_BYTES_MAX
        if self._handover.size_bytes > ALL_BYTES_MAX:
            share = min(share, ALL_BYTES_MAX // len(self._handover.lanes))
        if not self.paused and self.size_bytes > share:
            self.paused = True
            self.origin.pause()
        elif self.paused and self.size_bytes <= share // 2:
            self.paused = False
            self.origin.resume()


class Handover:
    """All lanes, and the one who takes."""

    def __init__(self) -> None:
        self.lanes: list[Lane] = []
        self.failed: set[Origin] = set()
        self.ready: deque[Lane] = deque()
        self.size_bytes = 0
        self._waiter: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """Something has changed for the one who waits."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        """Until the next ``wake``."""
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def take(self) -> tuple[Lane, Waiting] | None:
        """The next one; None where nothing waits."""
        if not self.ready:
            return None
        was_full = self.size_bytes > ALL_BYTES_MAX
        lane = self.ready.popleft()
        waiting = lane.take(lane.waiting[0])
        if lane.waiting:
            self.ready.append(lane)
        if was_full and self.size_bytes <= ALL_BYTES_MAX:
            for other in self.lanes:
                other.regulate()
        elif lane.paused:
            lane.regulate()
        return lane, waiting
