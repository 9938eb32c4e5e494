"""Shares the event loop between supervision and those who tell subscribers of it.

What is to be done is done at once, on the stack of whoever asks: an event is on its way to the first subscribers before
the commit that made it returns. Once that has taken its share of time, the rest is left for later turns of the loop, a
slice in each, in order: with a thousand subscribers and a burst of deaths, what must be supervised comes in between.
Refuses to know what is done.
"""

import asyncio
import logging
import time
from collections.abc import Iterable
from typing import Protocol

SLICE_S = 0.002
# Of any such stretch, one slice at most is worked at once.
PERIOD_S = 0.004
log = logging.getLogger("relaunch")


class Worker(Protocol):
    """Somebody who has something to do."""

    def step(self) -> None:
        """Do a small part of it. What is left over is announced with ``Turns.add``. Must not raise."""


class Turns:
    """Those who have something to do. Lives on one event loop; costs nothing while nobody has."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._due: dict[Worker, None] = {}
        self._busy = False
        self._left_s = SLICE_S
        self._period_end = 0.0

    def add(self, workers: Iterable[Worker]) -> None:
        """Have each do a step, now if there is time; one who waits for a step already keeps that place."""
        for worker in workers:
            self._due[worker] = None
        if not self._busy and self._due:
            now = time.monotonic()
            if now >= self._period_end:
                self._period_end, self._left_s = now + PERIOD_S, SLICE_S
            self._work(now)

    def drop(self, worker: Worker) -> None:
        """Have one do nothing more."""
        self._due.pop(worker, None)

    def _work(self, begin: float) -> None:
        self._busy = True
        now, end = begin, begin + self._left_s
        while self._due and now < end:
            worker = next(iter(self._due))
            del self._due[worker]
            try:
                worker.step()
            except Exception:
                log.exception("a subscriber could not be told of something")
            now = time.monotonic()
        self._left_s -= now - begin
        # While it stays busy, whoever asks only waits in line for the next turn.
        self._busy = bool(self._due)
        if self._busy:
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._left_s = SLICE_S
        self._work(time.monotonic())
