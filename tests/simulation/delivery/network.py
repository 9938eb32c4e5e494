"""Simulated processes that stall and die, and connections between them: in order within one, in none among them.

Knows delays, losses (a transport makes up for them, later), one-way cuts, silent ends. Refuses to know what is sent.
"""

from collections.abc import Callable
from random import Random
from typing import Any

from tests.simulation.clock import Schedule

Callback = Callable[..., None]
OUT, BACK = 0, 1


class Died(BaseException):
    """Passes through a process's code as a SIGKILL would."""


class Process:
    """Something that runs, stalls and dies. ``call`` reaches the life that it is in."""

    def __init__(self, schedule: Schedule, dies: Callback) -> None:
        self.schedule = schedule
        self.up = False
        self.life = 0
        self.stalled_until = 0.0
        self.unread: list[tuple[float, Any, Callback, tuple[Any, ...]]] = []
        self._timers: list[tuple[Callback, tuple[Any, ...]]] = []
        self._dies = dies

    def begin(self) -> None:
        self.up, self.life, self.stalled_until = True, self.life + 1, 0.0

    def end(self) -> None:
        self.up = False
        self.unread, self._timers = [], []

    def stall(self, seconds: float) -> None:
        self.stalled_until = self.schedule.now + seconds
        self.schedule.after(seconds, self._wake, self.life)

    def _wake(self, life: int) -> None:
        """Timers come first: the worst that an event loop can do."""
        if life != self.life or not self.up or self.schedule.now < self.stalled_until:
            return
        timers, self._timers = self._timers, []
        for callback, args in timers:
            self.perform(callback, *args)
        while self.unread and life == self.life:
            _, _, callback, args = self.unread.pop(0)
            self.perform(callback, *args)

    def perform(self, callback: Callback, *args: Any) -> None:
        if self.up:
            try:
                callback(*args)
            except Died:
                self._dies()

    def later(self, delay: float, callback: Callback, *args: Any) -> None:
        """A timer, or the disk's answer."""
        self.schedule.after(delay, self._timer, self.life, callback, args)

    def _timer(self, life: int, callback: Callback, args: tuple[Any, ...]) -> None:
        if life != self.life or not self.up:
            return
        if self.schedule.now < self.stalled_until:
            self._timers.append((callback, args))
        else:
            self.perform(callback, *args)

    def read(self, life: int, sender: Any, callback: Callback, args: tuple[Any, ...]) -> None:
        """Something has come over the network."""
        if life != self.life or not self.up:
            return
        if self.schedule.now < self.stalled_until:
            self.unread.append((self.schedule.now, sender, callback, args))
        else:
            self.perform(callback, *args)


class Path:
    """The way between two hosts."""

    def __init__(self, schedule: Schedule, rng: Random, loss: float, duplicates: float) -> None:
        self.schedule, self.rng, self.loss, self.duplicates = schedule, rng, loss, duplicates
        self.cut_until = [0.0, 0.0]

    def cut(self, way: int, seconds: float) -> None:
        self.cut_until[way] = max(self.cut_until[way], self.schedule.now + seconds)

    def is_open(self) -> bool:
        return max(self.cut_until) <= self.schedule.now

    def arrival(self, way: int) -> float:
        delay = self.rng.choice((0.001, 0.001, 0.005, 0.03))
        while self.rng.random() < self.loss:
            delay += self.rng.choice((0.02, 0.1))
        return max(self.schedule.now, self.cut_until[way]) + delay


class Connection:
    """One connection; each end closes for itself, and the other may never hear of that."""

    def __init__(self, path: Path, ends: tuple[Process, Process]) -> None:
        self.path, self.ends = path, ends
        self.lives = [ends[OUT].life, ends[BACK].life]
        self.open = [True, True]
        self.is_broken = False
        self.on_close: list[Callback | None] = [None, None]
        self._last = [0.0, 0.0]

    def send(self, way: int, callback: Callback, *args: Any, once: bool = False) -> None:
        """From the end at ``way`` to the other."""
        if not self.open[way] or self.is_broken:
            return
        for _ in range(2 if not once and self.path.rng.random() < self.path.duplicates else 1):
            self._last[way] = at = max(self._last[way], self.path.arrival(way))
            self.path.schedule.after(at - self.path.schedule.now, self._arrive, way, callback, args)

    def _arrive(self, way: int, callback: Callback, args: tuple[Any, ...]) -> None:
        there = 1 - way
        if not self.ends[there].up and self.path.is_open() and self.path.rng.random() < 0.7:  # refused
            self.ends[way].read(self.lives[way], self.ends[there], self._read, (way, self._closed, (way,)))
        self.ends[there].read(self.lives[there], self.ends[way], self._read, (there, callback, args))

    def _read(self, there: int, callback: Callback, args: tuple[Any, ...]) -> None:
        if self.open[there]:
            callback(*args)

    def close(self, way: int) -> None:
        """From one end; the other hears of it, or does not."""
        if self.open[way]:
            if self.path.rng.random() < 0.5:
                self.send(way, self._closed, 1 - way, once=True)
            self.open[way] = False

    def _closed(self, way: int) -> None:
        self.open[way] = False
        told = self.on_close[way]
        if told is not None:
            told()
