"""What must hold of delivery, watched from outside: told of each send, hand-on and report; raises ``Violation``.

Knows the clauses of docs/protocol.md. Refuses to know how they are kept.
"""

from dataclasses import dataclass, field

from tests.simulation.clock import Schedule
from tests.simulation.host import Violation

from relaunch.core.delivery import Cursor, Entry, Gap, Item, Reset, Snapshot
from relaunch.core.liveness import Run


@dataclass
class Story:
    """All that one journal ever committed, through its epochs."""

    epochs: list[str] = field(default_factory=list)
    matching: dict[str, list[int]] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)
    compacted_to: dict[str, int] = field(default_factory=dict)

    def between(self, epoch: str, after: int, until: int) -> list[int]:
        return [one for one in self.matching[epoch] if after < one <= until]


@dataclass
class Told:
    """What one subscription's application was handed of one source, and has handled."""

    stand: Cursor | None = None
    done: Cursor | None = None
    handled: set[Cursor] = field(default_factory=set)
    in_hand: Item | None = None
    in_doubt: Item | None = None


class Promises:
    """The promises to one subscription on one source, whose runs come and go."""

    def __init__(self, schedule: Schedule, window: int, rate: float, burst: int) -> None:
        self.schedule = schedule
        self.story = Story()
        self.told = Told()
        self.kept: Cursor | None = None
        self.running: Run | None = None
        self.limits = window, rate, burst
        self.level, self.level_at = 0.0, 0.0
        self.dials: list[float] = []
        self.unacked: list[Cursor] = []
        self.dial = 0
        self.last: Item | None = None

    # The launcher's side

    def dialled(self, dial: int, first: bool) -> None:
        """[D9]"""
        now = self.schedule.now
        if first:
            self.dials = []
        self.dials = [*self.dials[-9:], now]
        if len(self.dials) == 10 and now - self.dials[0] < 0.05 * 9:
            raise Violation("dialled ten times at once [D9]")
        self.dial, self.unacked = dial, []

    def sent(self, dial: int, items: tuple[Item, ...]) -> None:
        """[D1] [D8]"""
        window, rate, burst = self.limits
        now = self.schedule.now
        for item in items:
            if item.at.sequence > self.story.last.get(item.at.epoch, -1):
                raise Violation(f"{item} was sent before it was committed [D1]")
        self.level = max(0.0, self.level - (now - self.level_at) * rate) + len(items)
        self.level_at = now
        if self.level > burst + 2:
            raise Violation(f"{self.level:.0f} items were sent at once [D8]")
        if dial == self.dial:
            self.unacked += [item.at for item in items]
            if len(self.unacked) > window:
                raise Violation(f"{len(self.unacked)} items are in flight [D8]")

    def acked(self, dial: int, at: Cursor | None) -> None:
        """At the launcher."""
        if dial == self.dial and at is not None:
            self.unacked = [one for one in self.unacked if self._number(one) > self._number(at)]

    # The subscriber's side

    def handed(self, item: Item, again: bool) -> None:
        """[D1] [D2] [D4] [D5] [D6] When the application gets it."""
        told = self.told
        told.in_hand = item
        if again and told.in_doubt is not None and self._number(item.at) <= self._number(told.in_doubt.at):
            return
        if item.at in told.handled and not isinstance(item, Snapshot):
            raise Violation(f"{item} was handed on twice [D4]")
        match item:
            case Snapshot(at=at):
                if at.sequence > self.story.last.get(at.epoch, -1):
                    raise Violation(f"{item} is not of this journal")
                if told.stand is not None:
                    raise Violation(f"{item} came amid the stream [D7]")
            case Entry(at=at):
                if at.sequence not in self.story.matching[at.epoch]:
                    raise Violation(f"{item} was handed on, and does not match or was never committed [D1]")
                self._covers(at, at.sequence - 1)
            case Gap(at=at, first=first):
                if at.sequence > self.story.compacted_to[at.epoch]:
                    raise Violation(f"{item} tells of a gap where there is none [D5]")
                self._covers(at, first - 1)
            case Reset(at=at):
                later = self.story.epochs.index(at.epoch)
                if told.stand is not None and later <= self.story.epochs.index(told.stand.epoch):
                    raise Violation(f"{item} goes back [D6]")
        told.stand = item.at

    def _covers(self, at: Cursor, until: int) -> None:
        stand = self.told.stand
        if stand is None or stand.epoch != at.epoch:
            raise Violation(f"the stream came to {at} without a word of reset [D6]")
        if at.sequence <= stand.sequence:
            raise Violation(f"the stream went from {stand} back to {at} [D2]")
        missed = self.story.between(at.epoch, stand.sequence, until)
        if missed:
            raise Violation(f"{missed} of {at.epoch} were passed over in silence [D5]")

    def handled(self, item: Item) -> None:
        self.told.handled.add(item.at)
        self.told.done, self.told.in_hand, self.last = item.at, None, item

    def keeps(self, cursor: Cursor) -> None:
        """[D3] Before it is put down."""
        self._is_done(cursor, "kept")
        self.kept = cursor

    def acks(self, cursor: Cursor | None, durable: bool) -> None:
        """[D3] Before it leaves the subscriber."""
        if cursor is None:
            return
        self._is_done(cursor, "acknowledged")
        if durable and cursor != self.kept:
            raise Violation(f"{cursor} was acknowledged and not kept [D3]")

    def _is_done(self, cursor: Cursor, what: str) -> None:
        done = self.told.done
        if done is None or done.epoch != cursor.epoch:
            raise Violation(f"{cursor} was {what}, and only {done} has been handled [D3]")
        open_ = self.story.between(cursor.epoch, done.sequence, cursor.sequence)
        if open_ or cursor.sequence > self.story.last[cursor.epoch]:
            raise Violation(f"{cursor} was {what}, and {open_} have not been handled [D3]")

    def killed(self) -> None:
        """The subscriber died, and is to come again. What it had in hand it may have handled."""
        told, kept = self.told, self.kept
        if kept is None:
            self.told = Told()
            return
        # Handled and not kept yet, or handed on and not handled: either way it is that one and no more.
        doubt = next(
            (one for one in (told.in_hand, self.last, told.in_doubt) if one and self._is_after(one, kept)), None
        )
        told.in_doubt, told.in_hand, told.done = doubt, None, kept
        told.stand = doubt.at if doubt is not None else kept

    def _is_after(self, item: Item, cursor: Cursor) -> bool:
        return self._number(item.at) > self._number(cursor)

    def _number(self, at: Cursor) -> tuple[int, int]:
        return self.story.epochs.index(at.epoch), at.sequence

    # What is believed

    def certain(self, source: str, kind: str, run: Run) -> None:
        """[D11]"""
        if run == self.running:
            raise Violation(f"{kind} of {source} was said for certain while it ran [D11]")

    def at_rest(self) -> None:
        """[D2] [D9] Some time after the last fault."""
        epoch = self.story.epochs[-1]
        stand = self.told.done
        if stand is None or stand.epoch != epoch:
            raise Violation(f"all is well again, and the application is at {stand}, not in {epoch} [D9]")
        missed = self.story.between(epoch, stand.sequence, self.story.last[epoch])
        if missed:
            raise Violation(f"all is well again, and {missed} of {epoch} have not arrived [D9]")
