"""A simulated launcher with its journal: the driver around ``core.sending``, by the rules of the real one.

Commit, then tell the sender; perform its effects in order; keep one timer from ``deadline``; answer a scan from one
reading of the journal. Refuses to know when it dies; it may at each ``step``.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.simulation.delivery.network import OUT, Connection, Process

from relaunch.core import sender as says
from relaunch.core import sending
from relaunch.core.delivery import Bookmark, Cursor, Item
from relaunch.core.liveness import Run
from relaunch.core.sender import Sender, Terms

if TYPE_CHECKING:
    from tests.simulation.delivery.world import Source


@dataclass
class Journal:
    """What is on the disk."""

    epoch: str
    last: int = 0
    compacted_to: int = 0
    subscribed: int | None = None
    acked: Cursor | None = None

    @property
    def at(self) -> Cursor:
        return Cursor(self.epoch, self.last)


class Launcher:
    """One run of a launcher."""

    def __init__(self, source: "Source", process: Process, run: Run) -> None:
        self.source, self.process, self.run = source, process, run
        self.sender: Sender | None = None
        self.connection: Connection | None = None
        self.pending: list[bool] = []
        self._armed: float | None = None

    @property
    def journal(self) -> Journal:
        return self.source.journal

    def recover(self) -> None:
        if self.journal.subscribed is not None:
            self.begin(self.journal.acked)

    def register(self, subscription: int) -> None:
        """Over the control channel; the same one again renews it."""
        if self.sender is not None and self.journal.subscribed == subscription:
            self.apply(says.Renewed())
            return
        if self.sender is not None:
            self.apply(says.Unsubscribed())
        self.journal.subscribed, self.journal.acked = subscription, None
        self.begin(None)

    def begin(self, cursor: Cursor | None) -> None:
        self.sender, effects = sending.begin(self.source.terms, cursor, now=self.now)
        self.source.promises.dialled(1, first=True)
        self.perform(effects)

    @property
    def now(self) -> float:
        return self.source.world.schedule.now

    # What happens

    def produce(self, matching: list[bool]) -> None:
        """Things happen that will be committed together."""
        self.pending += matching
        self.process.later(self.source.world.disk_delay(), self.commit)

    def commit(self) -> None:
        self.step()
        matching, self.pending = self.pending, []
        for matches in matching:
            self.source.append(matches)
        self.step()
        self.apply(says.Committed(self.journal.at))

    def step(self) -> None:
        self.source.world.step(self.source.world.faults.launcher_dies)

    def apply(self, event: says.Event) -> None:
        if self.sender is None:
            return
        self.sender, effects = self.transition(self.sender, event)
        self.perform(effects)
        self.arm()

    def transition(self, sender: Sender, event: says.Event) -> sending.Step:
        return sending.transition(sender, event, self.now, self.source.world.rng.random())

    def arm(self) -> None:
        at = sending.deadline(self.sender) if self.sender is not None else None
        if at is not None and (self._armed is None or at < self._armed):
            self._armed = at
            self.process.later(max(0.0, at - self.now), self._ring, at)

    def _ring(self, at: float) -> None:
        if self._armed != at:
            return
        self._armed = None
        due = sending.deadline(self.sender) if self.sender is not None else None
        if due is not None and due <= self.now:
            self.apply(says.Tick())
        else:
            self.arm()

    # What must be done

    def perform(self, effects: tuple[says.Effect, ...]) -> None:
        for effect in effects:
            self.step()
            self._do(effect)

    def _do(self, effect: says.Effect) -> None:
        match effect:
            case says.Dial(dial=dial):
                self._dial(dial)
            case says.Scan():
                self.process.later(self.source.world.disk_delay(), self._scan, effect)
            case says.TakeSnapshot(dial=dial):
                self.process.later(self.source.world.disk_delay(), self._snap, dial)
            case says.Send(dial=dial, items=items):
                self.send(dial, items)
            case says.Beat(dial=dial, bookmark=bookmark):
                self._beat(dial, bookmark)
            case says.HangUp():
                self._hang_up()
            case says.Keep(acked=acked):
                self.journal.acked = acked
            case says.Expire():
                raise AssertionError("the lease is longer than this life")

    def _dial(self, dial: int) -> None:
        self._hang_up()
        self.source.promises.dialled(dial, first=False)
        self.connection = self.source.connect()
        self.connection.on_close[OUT] = lambda: self.apply(says.Disconnected(dial))
        self.connection.send(OUT, self.source.accept, self.connection, dial, self.run, once=True)

    def _hang_up(self) -> None:
        if self.connection is not None:
            self.connection.close(OUT)

    def scan(self, effect: says.Scan) -> says.Scanned:
        journal, after = self.journal, effect.after.sequence
        if journal.epoch != effect.after.epoch:
            return says.Scanned(effect.dial, effect.after, journal.epoch, journal.last)
        through = min(journal.last, max(after, journal.compacted_to) + 5)
        matching = self.source.promises.story.between(journal.epoch, max(after, journal.compacted_to), through)
        if len(matching) > effect.count:
            matching = matching[: effect.count]
            through = matching[-1]
        return says.Scanned(effect.dial, effect.after, journal.epoch, through, tuple(matching), journal.compacted_to)

    def _scan(self, effect: says.Scan) -> None:
        found = self.scan(effect)
        self.process.later(self.source.world.disk_delay(), self.apply, found)

    def _snap(self, dial: int) -> None:
        at = self.journal.at
        self.process.later(self.source.world.disk_delay(), lambda: self.apply(says.Snapped(dial, at, self.journal.at)))

    def send(self, dial: int, items: tuple[Item, ...]) -> None:
        self.source.promises.sent(dial, items)
        assert self.connection is not None
        for item in items:
            self.connection.send(OUT, self.source.arrived, self.connection, item)

    def _beat(self, dial: int, bookmark: Bookmark | None) -> None:
        assert self.connection is not None
        self.connection.send(OUT, self.source.beaten, self.connection, bookmark)

    def welcomed(self, dial: int, cursor: Cursor | None) -> None:
        self.apply(says.Welcomed(dial, cursor, self.journal.at))

    def acked(self, dial: int, at: Cursor | None) -> None:
        self.source.promises.acked(dial, at)
        self.apply(says.Acked(dial, at))


TERMS = Terms(window=4, rate=200.0, burst=8, beat_s=0.6, lease_s=1e9)
