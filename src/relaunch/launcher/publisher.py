"""Drives ``core.sending`` for one subscription: what happens in, its effects out, one timer from ``deadline``.

Each event of the journal is offered to the core the moment it is committed; what the core then asks to read is taken
from memory, on the same stack, or from the disk where it is older. What is sent and not acknowledged is bounded in
bytes as well, by holding back what is read. Nothing that goes wrong in here reaches the rest of the launcher: it ends
the connection. Refuses to know who else is subscribed, and what stands in the journal.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, assert_never

from relaunch.core import sender as says
from relaunch.core import sending
from relaunch.core.delivery import Cursor, Item
from relaunch.core.delivery_wire import write_cursor
from relaunch.core.sender import Dialling, Snapping, Streaming, Terms
from relaunch.errors import JournalFailed, RelaunchError
from relaunch.fields import Wire
from relaunch.launcher import telling
from relaunch.launcher.dials import Dials
from relaunch.launcher.failures import Failures
from relaunch.launcher.journal import Journal
from relaunch.launcher.outgoing import Outgoing, Speaker
from relaunch.launcher.recent import Bounds, Recent, choose
from relaunch.launcher.snapshot import Snapshots
from relaunch.launcher.turns import Turns
from relaunch.subscription import ALL_KINDS, Filter, SubscriptionSpec

READ_MAX = 256
log = logging.getLogger("relaunch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """What all publishers of a launcher share.

    Attributes:
        speaker: Who tells.
        recent: The newest events.
        journal: Has the older ones.
        snapshots: Tell what is.
        turns: When there is time for it.
        dials: When one more may be dialled.
        kept: Told of a publisher whose subscription has something to be remembered.
        expired: Told of one whose lease is over.
        bytes_max: How much may be on its way to one and not acknowledged; what is larger by itself goes alone.
        moved: Called whenever any of them may have caught up.
    """

    speaker: Speaker
    recent: Recent
    journal: Journal
    snapshots: Snapshots
    turns: Turns
    dials: Dials
    kept: Callable[["Publisher"], None]
    expired: Callable[["Publisher"], None]
    bytes_max: Callable[[], int]
    moved: Callable[[], None]


class Publisher:
    """One subscription. Lives on the event loop; does nothing before ``begin``.

    Args:
        spec: What is asked for.
        since: When it began, wall time.
        cursor: How far its application had come, None where it has nothing.
        supply: What it shares with the others.
    """

    def __init__(self, spec: SubscriptionSpec, since: float, cursor: Cursor | None, supply: Supply) -> None:
        self.spec = spec
        self.since = since
        self._supply = supply
        self._loop = asyncio.get_running_loop()
        self._wanted = Filter(spec.patterns, spec.kinds)
        # What it was told last of the journal; only compared.
        self._told: Cursor | None = None
        self._sender, _ = sending.begin(_terms(spec), cursor, now=self._loop.time())
        self._outgoing: Outgoing | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._work: asyncio.Task[None] | None = None
        self._scan: says.Scan | None = None
        self._held_at: int | None = None
        self._payloads: dict[int, str] = {}
        self._sizes: deque[int] = deque()
        self._unacked_bytes = 0
        self._failures = Failures(spec)
        self._dialled_at = float("-inf")
        self._passing: asyncio.Handle | None = None
        self._leaving = False

    # What others see

    @property
    def acked(self) -> Cursor | None:
        """How far the application has come."""
        return self._sender.acked

    @property
    def is_connected(self) -> bool:
        """Whether the subscriber is there."""
        return self._outgoing is not None and isinstance(self._sender.state, Snapping | Streaming)

    @property
    def is_behind(self) -> bool:
        """Whether the subscriber is there, and its application has something to handle yet."""
        return self.is_connected and not (self._told is self._supply.recent.at and sending.is_caught_up(self._sender))

    def to_wire(self) -> Wire:
        """As ``Subscription`` of the interface has it; the secret is not in it."""
        spec, at, acked = self.spec, self._supply.recent.at, self.acked
        behind = None
        if acked is not None:
            behind = at.sequence - acked.sequence if acked.epoch == at.epoch else at.sequence
        connected = self.is_connected
        return {
            "id": spec.id,
            "name": spec.name,
            "address": spec.address,
            "transport": spec.transport,
            "patterns": list(spec.patterns),
            "kinds": list(spec.kinds),
            "state": "connected" if connected else "connecting",
            "since": self.since,
            "acked": write_cursor(acked),
            "behind": None if behind is None else max(0, behind),
            "unreachable_s": None if connected else round(self._loop.time() - self._sender.heard_at, 3),
            "error": None if connected else self._failures.last,
            "lease_s": spec.lease_s,
        }

    # What others ask

    def begin(self) -> None:
        """Connect."""
        self._sender, effects = sending.begin(self._sender.terms, self.acked, now=self._loop.time())
        self._perform(effects)

    def renew(self, spec: SubscriptionSpec, cursor: Cursor | None) -> None:
        """The subscriber has subscribed again, perhaps to something else, perhaps from somewhere else."""
        if _place(spec) != _place(self.spec):
            self._failures = Failures(spec)
        self.spec, self._wanted = spec, Filter(spec.patterns, spec.kinds)
        self._sender = replace(self._sender, terms=_terms(spec), acked=cursor or self.acked)
        self._apply(says.Renewed())

    def end(self) -> None:
        """Nobody wants it any more."""
        self._apply(says.Unsubscribed())
        self.close()

    def farewell(self) -> None:
        """Tell a subscriber that is there that this run ends."""
        if self.is_connected and self._outgoing is not None:
            self._leaving = True
            self._outgoing.send(telling.call("Farewell", {}, oneway=True), 0)

    def close(self) -> None:
        """Hang up, and do nothing more."""
        self._supply.turns.drop(self)
        self._supply.dials.forget(self.spec.id)
        self._disconnect()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # What happens

    def step(self) -> None:
        """Look at what was committed, and read on."""
        at = self._supply.recent.at
        if at is not self._told and isinstance(self._sender.state, Streaming):
            self._told = at
            self._apply(says.Committed(at))
        if self._scan is not None and self._has_room():
            self._guard(self._answer)

    def welcomed(self, dial: int, cursor: Cursor | None) -> None:
        """See ``outgoing.Hearer``."""
        self._told = self._supply.recent.at
        self._supply.dials.forget(self.spec.id)
        self._apply(says.Welcomed(dial, cursor, self._told))

    def acked_by(self, dial: int, at: Cursor | None) -> None:
        """See ``outgoing.Hearer``."""
        self._failures.well(self._loop.time())
        self._apply(says.Acked(dial, at))

    def disconnected(self, dial: int, why: str) -> None:
        """See ``outgoing.Hearer``."""
        if self._leaving:
            self.close()
            self._supply.moved()
        elif dial == self._sender.dial:
            self._failed(why)
            self._disconnect()
            self._apply(says.Disconnected(dial))

    # The core

    def _apply(self, event: says.Event, payloads: dict[int, str] | None = None) -> None:
        """Tell the core; ``payloads`` are the texts of what it may send in return, by sequence."""

        def apply() -> None:
            now, roll = self._loop.time(), random.random()  # noqa: S311 - jitter is no secret
            self._sender, effects = sending.transition(self._sender, event, now, roll)
            self._payloads = payloads or {}
            hangs_up = any(isinstance(one, says.HangUp) for one in effects)
            if isinstance(event, says.Tick | says.Acked) and hangs_up and self._outgoing and self._outgoing.begun:
                wrong = "says nothing" if isinstance(event, says.Tick) else "acknowledges what it was not sent"
                self._failed(f"{self.spec.address} {wrong}")
            self._perform(effects)

        self._guard(apply)

    def _perform(self, effects: tuple[says.Effect, ...]) -> None:
        for effect in effects:
            self._do(effect)
        self._forget_acked()
        self._arm()
        self._supply.moved()
        if self._scan is not None and self._has_room():
            self._supply.turns.add((self,))

    def _guard(self, act: Callable[[], None]) -> None:
        """Do it; if that fails inside, end this connection, and have the next one tried like after any failure."""
        try:
            act()
        except Exception as error:
            if self._failures.is_news(self._loop.time()):
                log.exception("subscription %s failed inside", self.spec.id)
            self._broken(f"the launcher failed inside: {error!r}")

    def _broken(self, why: str) -> None:
        self._failed(why)
        self._disconnect()
        self._sender, effects = sending.transition(
            self._sender, says.Disconnected(self._sender.dial), self._loop.time(), 1.0
        )
        self._perform(effects)

    def _do(self, effect: says.Effect) -> None:
        match effect:
            case says.Dial(dial=dial):
                self._dial(dial)
            case says.Scan():
                self._scan, self._held_at = effect, None
            case says.TakeSnapshot(dial=dial):
                self._begin_work(self._snap(dial))
            case says.Send(items=items):
                self._send(items)
            case says.Beat(bookmark=bookmark):
                self._say(telling.beat(self._supply.recent.at.sequence, bookmark), 1)
            case says.HangUp():
                self._disconnect()
            case says.Keep():
                self._supply.kept(self)
            case says.Expire():
                self._supply.expired(self)
            case _:
                assert_never(effect)

    def _dial(self, dial: int) -> None:
        self._disconnect()
        state, now = self._sender.state, self._loop.time()
        failures = state.attempt if isinstance(state, Dialling) else 0
        if self._supply.dials.is_due(self.spec.id, failures, now - self._dialled_at):
            self._dialled_at = now
            self._outgoing = Outgoing(self.spec, self._supply.speaker, dial, self, self._supply.dials.turn)
        else:
            self._passing = self._loop.call_soon(self._apply, says.Disconnected(dial))

    def _failed(self, why: str) -> None:
        self._failures.add(why, self._loop.time())

    def _disconnect(self) -> None:
        outgoing, self._outgoing = self._outgoing, None
        if outgoing is not None:
            outgoing.close()
        if self._passing is not None:
            self._passing.cancel()
            self._passing = None
        work, self._work = self._work, None
        if work is not None and work is not asyncio.current_task():
            work.cancel()
        self._scan = None
        self._sizes.clear()
        self._unacked_bytes = 0

    def _arm(self) -> None:
        """Keep the timer where it is unless it would ring too late: most deadlines only move away."""
        at = sending.deadline(self._sender)
        if at is None or (self._timer is not None and self._timer.when() <= at):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._ring)

    def _ring(self) -> None:
        self._timer = None
        at = sending.deadline(self._sender)
        if at is not None and at <= self._loop.time():
            self._apply(says.Tick())
        else:
            self._arm()

    # Sending

    def _send(self, items: tuple[Item, ...]) -> None:
        texts = []
        for item in items:
            text = telling.item_text(item, self._payloads.pop(item.at.sequence, None))
            self._sizes.append(len(text))
            self._unacked_bytes += len(text)
            texts.append(text)
        self._say(telling.deliver(texts), len(texts))

    def _say(self, message: bytes, answers: int) -> None:
        if self._outgoing is not None:
            self._outgoing.send(message, answers)

    def _forget_acked(self) -> None:
        state = self._sender.state
        left = len(state.in_flight) if isinstance(state, Streaming) else 0
        while len(self._sizes) > left:
            self._unacked_bytes -= self._sizes.popleft()

    def _has_room(self) -> bool:
        return self._unacked_bytes < (self._supply.bytes_max() if self._held_at is None else self._held_at)

    # Reading

    def _answer(self) -> None:
        """Answer what the core wants to read, if that is in memory, and there is room for it; else see to it."""
        scan, recent = self._scan, self._supply.recent
        if scan is None:
            return
        self._scan = None
        after = scan.after.sequence
        if scan.after.epoch != recent.at.epoch:
            self._apply(says.Scanned(scan.dial, scan.after, recent.at.epoch, recent.at.sequence))
            return
        found = recent.find(after, self._wanted, scan.count, self._room())
        if found is None:
            self._begin_work(self._read(scan))
        elif after >= recent.at.sequence:
            self._scan = scan  # there is nothing yet; the next commit answers it
        else:
            self._scanned(scan, found.through, found.events)

    def _room(self) -> int:
        # With nothing on its way there is room for anything.
        return self._supply.bytes_max() - self._unacked_bytes if self._sizes else 2**62

    def _scanned(self, scan: says.Scan, through: int, events: list[tuple[int, str]]) -> None:
        if through == scan.after.sequence:
            # The first is too large for now: wait until something has been acknowledged.
            self._scan, self._held_at = scan, self._unacked_bytes
            return
        matching = tuple(sequence for sequence, _ in events)
        self._apply(says.Scanned(scan.dial, scan.after, scan.after.epoch, through, matching), dict(events))

    async def _read(self, scan: says.Scan) -> None:
        recent, after = self._supply.recent, scan.after.sequence
        stored = await self._supply.journal.read(after, READ_MAX)
        epoch = stored[0].epoch if stored else scan.after.epoch
        await self._await_news(epoch)
        if epoch != scan.after.epoch:
            self._apply(says.Scanned(scan.dial, scan.after, epoch, stored[-1].sequence))
            return
        gone_to = stored[0].sequence - 1 if stored else recent.at.sequence
        if gone_to > after:
            self._apply(says.Scanned(scan.dial, scan.after, epoch, gone_to, (), gone_to))
            return
        source, bounds = self._supply.speaker.source, Bounds(scan.count, self._room())
        found = await self._loop.run_in_executor(
            None, choose, stored, after, self._wanted, lambda event: telling.old_event_text(source, event), bounds
        )
        self._scanned(scan, found.through, found.events)

    async def _snap(self, dial: int) -> None:
        recent, labels = self._supply.recent, Filter(self.spec.patterns, (ALL_KINDS,))
        at, text = await self._supply.snapshots.take(lambda label: labels("job", label))
        await self._await_news(at.epoch)
        self._told = recent.at
        self._apply(says.Snapped(dial, at, self._told), {at.sequence: text})

    async def _await_news(self, epoch: str) -> None:
        """What has been read may be of a journal so new that the news of it is still on its way here.

        Raises:
            JournalFailed: It cannot be written to yet.
        """
        recent = self._supply.recent
        if epoch != recent.at.epoch:
            await self._supply.journal.settle()
        if epoch != recent.at.epoch:
            raise JournalFailed("the journal is being made anew")

    def _begin_work(self, work: Coroutine[Any, Any, None]) -> None:
        self._work = self._loop.create_task(self._guarded(work))

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except RelaunchError as error:
            self._broken(error.message)
        except Exception as error:
            if self._failures.is_news(self._loop.time()):
                log.exception("subscription %s failed inside", self.spec.id)
            self._broken(f"the launcher failed inside: {error!r}")


def _terms(spec: SubscriptionSpec) -> Terms:
    return Terms(beat_s=spec.beat_s, lease_s=spec.lease_s)


def _place(spec: SubscriptionSpec) -> tuple[str, str, str]:
    return spec.address, spec.transport, spec.fingerprint
