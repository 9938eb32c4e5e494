"""Bugs planted into delivery: each is one rule of the core or of its drivers forgotten. Every one must be found.

Knows which rule each one forgets. Refuses to know how it is found out.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.simulation.delivery.launcher import Launcher
from tests.simulation.delivery.subscriber import Subscriber
from tests.simulation.delivery.world import Faults, Parts, Source

from relaunch.core import receiving, sending
from relaunch.core import sender as says
from relaunch.core.delivery import Cursor, Entry, Gap, Item, Reset
from relaunch.core.liveness import Peer, Report, Run, Watch
from relaunch.core.receiving import Following, HandOn, Receiver
from relaunch.core.sender import Sender, Streaming

PLANTED: dict[str, tuple[Parts, Faults]] = {}


def planted(**faults: Any) -> Callable[[type[Launcher] | type[Subscriber]], None]:
    """Enter it under its docstring, with the faults that it takes to be found soon."""

    def enter(kind: type[Launcher] | type[Subscriber]) -> None:
        parts = Parts(subscriber=kind) if issubclass(kind, Subscriber) else Parts(launcher=kind)
        PLANTED[(kind.__doc__ or "").rstrip(".")] = parts, Faults(**faults)

    return enter


# Of the launcher


@planted(launcher_dies=0.05)
class SendsBeforeCommit(Launcher):
    """What has not been committed is sent."""

    def produce(self, matching: list[bool]) -> None:
        last = self.journal.last + len(matching)
        if isinstance(self.sender and self.sender.state, Streaming):
            at = Cursor(self.journal.epoch, last)
            self.send(self.sender.dial if self.sender else 0, (Entry(at, last - 1),))
        super().produce(matching)


@planted(cuts=3, stalls=3)
class SkipsOne(Launcher):
    """Redelivery begins one too late."""

    def welcomed(self, dial: int, cursor: Cursor | None) -> None:
        super().welcomed(dial, cursor and replace(cursor, sequence=min(cursor.sequence + 1, self.journal.last)))


@planted(cuts=3)
class ForgetsUnacknowledged(Launcher):
    """After a reconnect only what is new is sent."""

    def welcomed(self, dial: int, cursor: Cursor | None) -> None:
        super().welcomed(dial, cursor and self.journal.at)


@planted(cuts=3, compactions=5)
class ForgetsGap(Launcher):
    """What was compacted away is passed over in silence, as if it had been read and did not match."""

    def scan(self, effect: says.Scan) -> says.Scanned:
        return replace(super().scan(effect), compacted_to=0)


@planted(lost_journals=2, launcher_dies=0.02)
class ForgetsReset(Launcher):
    """A place in the journal before is taken for one in this."""

    def welcomed(self, dial: int, cursor: Cursor | None) -> None:
        if cursor is not None and cursor.epoch != self.journal.epoch:
            cursor = self.journal.at
        super().welcomed(dial, cursor)


@planted()
class ForgetsFilter(Launcher):
    """What does not match is sent."""

    def scan(self, effect: says.Scan) -> says.Scanned:
        found = super().scan(effect)
        every = tuple(range(max(effect.after.sequence, found.compacted_to) + 1, found.through + 1))[: effect.count]
        return replace(found, matching=every, through=every[-1] if every else found.through)


@planted()
class IgnoresWindow(Launcher):
    """What is in flight is not counted."""

    def transition(self, sender: Sender, event: says.Event) -> sending.Step:
        if isinstance(sender.state, Streaming):
            sender = replace(sender, state=replace(sender.state, in_flight=()))
        return super().transition(sender, event)


@planted(subscriber_dies=0.05)
class IgnoresRate(Launcher):
    """Everything is sent at once."""

    def transition(self, sender: Sender, event: says.Event) -> sending.Step:
        return super().transition(replace(sender, tokens=1000.0, terms=replace(sender.terms, burst=1000)), event)

    def begin(self, cursor: Cursor | None) -> None:
        self.source.promises.limits = (1000, *self.source.promises.limits[1:])
        self.source.terms = replace(self.source.terms, window=1000)
        super().begin(cursor)


@planted(breaks=2)
class NeverTires(Launcher):
    """A connection over which nothing comes back is kept for ever, whoever subscribes again."""

    def transition(self, sender: Sender, event: says.Event) -> sending.Step:
        if isinstance(event, says.Renewed):
            return sender, ()
        if isinstance(sender.state, Streaming):
            link = replace(sender.state.link, unanswered_since=None)
            sender = replace(sender, state=replace(sender.state, link=link))
        return super().transition(sender, event)


@planted(subscriber_dies=0.03)
class DialsAtOnce(Launcher):
    """A connection that fails is tried again without delay."""

    def transition(self, sender: Sender, event: says.Event) -> sending.Step:
        after, effects = super().transition(sender, event)
        if isinstance(after.state, says.Waiting):
            after = replace(after, state=replace(after.state, retry_at=self.now + 0.001))
        return after, effects


@planted()
class SendsBackwards(Launcher):
    """What is sent at once is sent in the wrong order."""

    def send(self, dial: int, items: tuple[Item, ...]) -> None:
        super().send(dial, items[::-1])


@planted(launcher_dies=0.05, loss=0.3)
class ForgetsSubscription(Launcher):
    """A new launcher knows of no subscription, and when one comes again it is taken for known."""

    def recover(self) -> None:
        pass

    def register(self, subscription: int) -> None:
        if self.journal.subscribed != subscription:
            super().register(subscription)


# Of the subscriber


@planted()
class AcksBeforeHandling(Subscriber):
    """What was received is acknowledged."""

    def transition(self, receiver: Receiver, event: receiving.Event) -> receiving.Step:
        after, effects = super().transition(receiver, event)
        if isinstance(event, receiving.Arrived) and any(isinstance(effect, HandOn) for effect in effects):
            effects = (*effects, receiving.Ack(event.link, event.item.at))
        return after, effects


@planted(subscriber_dies=0.03)
class KeepsBeforeHandling(Subscriber):
    """What was received is put down as handled."""

    def transition(self, receiver: Receiver, event: receiving.Event) -> receiving.Step:
        after, effects = super().transition(receiver, event)
        if isinstance(event, receiving.Arrived) and any(isinstance(effect, HandOn) for effect in effects):
            effects = (receiving.Keep(event.item.at), *effects)
        return after, effects


@planted(subscriber_dies=0.03)
class NeverKeeps(Subscriber):
    """What was handled is acknowledged and not put down."""

    def perform(self, source: Source, effect: receiving.Effect) -> None:
        if not isinstance(effect, receiving.Keep):
            super().perform(source, effect)


@planted(cuts=3, loss=0.3)
class HandsOnDuplicates(Subscriber):
    """What comes again is handed on again."""

    def transition(self, receiver: Receiver, event: receiving.Event) -> receiving.Step:
        after, effects = super().transition(receiver, event)
        if isinstance(event, receiving.Arrived) and after is receiver and isinstance(event.item, Entry):
            effects = (HandOn(event.item),)
        return after, effects


@planted(duplicates=0.2, lost_journals=2)
class ForgetsEpoch(Subscriber):
    """Duplicates are recognised by their sequence alone."""

    def transition(self, receiver: Receiver, event: receiving.Event) -> receiving.Step:
        state = receiver.state
        if isinstance(event, receiving.Arrived) and isinstance(state, Following):
            if isinstance(event.item, Reset):
                return super().transition(receiver, event)
            if event.item.at.sequence in {one.sequence for one in self.sequences}:
                return receiver, ()
            self.sequences.add(event.item.at)
        return super().transition(receiver, event)

    def begin(self) -> None:
        self.sequences = set[Cursor]()
        super().begin()


@planted(loss=0.3, cuts=3)
class ListensToOldConnections(Subscriber):
    """What is left of an earlier connection goes on beside the new one."""

    def transition(self, receiver: Receiver, event: receiving.Event) -> receiving.Step:
        after, effects = super().transition(receiver, event)
        if isinstance(event, receiving.Connected):
            return after, tuple(effect for effect in effects if not isinstance(effect, receiving.Welcome))
        return after, effects


@planted(duplicates=0.2, compactions=5, cuts=3)
class DropsGaps(Subscriber):
    """A gap is not handed on."""

    def perform(self, source: Source, effect: receiving.Effect) -> None:
        if isinstance(effect, HandOn) and isinstance(effect.item, Gap):
            self.apply(source, receiving.Handled(effect.item))
        else:
            super().perform(source, effect)


@planted(stalls=3)
class AccusesAfterItsOwnStall(Subscriber):
    """The subscriber's own lateness is forgotten."""

    def review(self, watch: Watch) -> tuple[Watch, dict[str, Peer], tuple[Report, ...]]:
        return super().review(replace(watch, looked_at=self.world.schedule.now))


@planted(cuts=3)
class IsCertainOfSilence(Subscriber):
    """Who is silent has ended, for certain."""

    def review(self, watch: Watch) -> tuple[Watch, dict[str, Peer], tuple[Report, ...]]:
        after, changed, reports = super().review(watch)
        return after, changed, tuple(replace(report, certain=True, kind="host.lost") for report in reports)


@planted(launcher_dies=0.05, cuts=3)
class BelievesWhatIsLate(Subscriber):
    """What an earlier run said is taken for the word of this one."""

    def meet(self, source: Source, run: Run) -> None:
        peer = self.peers.get(source.name)
        if peer is not None and run.number < peer.run.number:
            source.promises.certain(source.name, "launcher.restarted", peer.run)
        super().meet(source, run)


@planted(vanishes=1)
class NeverSuspects(Subscriber):
    """Silence means nothing."""

    def review(self, watch: Watch) -> tuple[Watch, dict[str, Peer], tuple[Report, ...]]:
        return super().review(watch)[0], {}, ()
