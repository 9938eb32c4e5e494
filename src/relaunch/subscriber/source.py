"""One launcher of a subscription: drives ``core.receiving``, and makes events of what is handed on.

Effects are performed strictly in order, each when the one before has succeeded; what cannot be put down holds up all
that follows from it. Refuses to know how callers prove themselves, and when the application takes an event.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, assert_never

from relaunch.core import receiving
from relaunch.core.delivery import Bookmark, Cursor, Entry, Gap, Item, Reset, Snapshot
from relaunch.core.delivery_wire import Payload, Told
from relaunch.core.liveness import Run
from relaunch.core.receiving import Ack, Blank, Following, HandOn, HangUp, Keep, Welcome
from relaunch.errors import Refused
from relaunch.event import TYPE_PREFIX, Event
from relaunch.subscriber.account import Account, Store
from relaunch.subscriber.handover import Handover, Lane, Waiting
from relaunch.subscriber.listener import Caller, Greeting
from relaunch.subscriber.watch import Watch
from relaunch.subscription import Filter

# Twice what a launcher may send without an acknowledgement: after a reconnection that much comes anew.
WAITING_MAX = 512
# What the subscriber has to say itself and nobody takes: of more than that the oldest is forgotten.
BELIEFS_MAX = 64
FORGED = "an item that is not what it says"
BLOCKED = "nothing can be put down"


@dataclass(frozen=True, slots=True)
class Hold:
    """Put down that the application is about to have an event in hand."""


class Source:
    """One launcher.

    Args:
        account: What the subscription has with it.
        store: Where that is kept.
        wanted: Which events the application is to get.
        handover: Where they wait for it.
        watch: What is believed of all launchers.
        changed: Called when it is connected, or no longer.
    """

    def __init__(
        self,
        account: Account,
        *,
        store: Store,
        wanted: Filter,
        handover: Handover,
        watch: Watch,
        changed: Callable[[], None],
    ) -> None:
        self.account = account
        self.lane = Lane(handover, self)
        self.failure: Refused | None = None
        self._store = store
        self._wanted = wanted
        self._handover = handover
        self._watch = watch
        self._changed = changed
        self._receiver = receiving.begin(
            durable=store.durable, limit=WAITING_MAX, cursor=account.cursor, in_doubt=account.in_doubt
        )
        self._effects: deque[tuple[receiving.Effect | Hold, Waiting | None]] = deque()
        self._performing = False
        self._callers: dict[int, Caller] = {}
        self._held: Caller | None = None
        self._registered = False
        self._in_hand: Waiting | None = None

    @property
    def secret(self) -> str:
        """See ``listener.Party``."""
        return self.account.secret

    @property
    def source(self) -> str | None:
        """See ``listener.Party``."""
        return self.account.source

    @property
    def is_connected(self) -> bool:
        """Whether its launcher has called, and is welcome."""
        return self._receiver.link is not None

    @property
    def is_blocked(self) -> bool:
        """Whether something is still to be done before the application may have the next event."""
        return bool(self._effects)

    def registered(self, *, source: str, run: Run, cursor: Cursor | None) -> None:
        """Its launcher has the subscription.

        Raises:
            Refused: It cannot be written down.
        """
        account = self.account
        for caller in self._connected():
            if caller.greeting.source != source:
                caller.close()
        account.source = source
        if cursor is not None and not self._receiver.links and isinstance(self._receiver.state, Blank):
            self._receiver = receiving.begin(durable=self._store.durable, limit=WAITING_MAX, cursor=cursor)
            account.cursor = cursor
        self._store.add(account)
        if not self._watch.is_known(account.key, run):
            self._watch.met(account.key, run)
        self._registered = True
        held, self._held = self._held, None
        if held is not None:
            self.attach(held, held.greeting)

    # What a caller tells it

    def attach(self, caller: Caller, greeting: Greeting) -> None:
        """See ``listener.Party``. Who calls before it is known where to begin waits for that."""
        account = self.account
        if self.failure is not None:
            caller.hang_up(BLOCKED)
            return
        if account.source not in (None, greeting.source):
            caller.close()
            return
        if not self._registered and isinstance(self._receiver.state, Blank):
            if self._held is not None:
                self._held.close()
            self._held = caller
            return
        if account.source is None:
            account.source = greeting.source
            try:
                self._store.add(account)
            except Refused:
                account.source = None
                caller.hang_up(BLOCKED)
                return
        self._watch.met(account.key, greeting.run)
        caller.link = self._receiver.links + 1
        self._callers[caller.link] = caller
        self._apply(receiving.Connected(caller.link))
        if self.lane.paused:
            self.pause()
        self._changed()

    def heard(self, caller: Caller) -> None:
        """See ``listener.Party``."""
        self._watch.heard(self.account.key, caller.run)

    def deliver(self, caller: Caller, told: Told) -> None:
        """See ``listener.Party``."""
        try:
            waiting = self._waiting(told)
        except (ValueError, TypeError, LookupError, OverflowError, OSError):
            caller.hang_up(FORGED)
            return
        self._apply(receiving.Arrived(caller.link, told.item), waiting)

    def beat(self, caller: Caller, bookmark: Bookmark | None) -> None:
        """See ``listener.Party``."""
        self._apply(receiving.Beaten(caller.link, bookmark))

    def farewell(self, caller: Caller) -> None:
        """See ``listener.Party``. Where all has been handled, and so acknowledged, there is no more to wait for."""
        self._watch.gone(self.account.key, caller.run)
        state = self._receiver.state
        if not (self.is_blocked or (isinstance(state, Following) and state.pending)):
            caller.close()

    def took(self, size_bytes: int) -> None:
        """See ``listener.Party``."""
        self.lane.charge(size_bytes)

    def left(self, caller: Caller) -> None:
        """See ``listener.Party``."""
        if self._held is caller:
            self._held = None
        if self._callers.pop(caller.link, None) is not None:
            self._apply(receiving.Disconnected(caller.link))
            self._regard()
            self._changed()

    def hang_up(self) -> None:
        """End every connection."""
        for caller in self._connected():
            caller.close()

    def _connected(self) -> list[Caller]:
        return [*self._callers.values(), *([self._held] if self._held else [])]

    # What the application and the lane tell it

    def given(self, waiting: Waiting) -> None:
        """The application gets it, once ``is_blocked`` says no more."""
        self._in_hand = waiting
        if self._store.durable and waiting.item is not None and waiting.event is not None:
            self._effects.append((Hold(), None))
            self._perform()

    def done(self) -> None:
        """The application is done with what it had; ``is_blocked`` says whether it must wait for the next."""
        waiting, self._in_hand = self._in_hand, None
        if waiting is not None and waiting.item is not None:
            self._apply(receiving.Handled(waiting.item))

    def retry(self) -> None:
        """Go on with what could not be put down.

        Raises:
            Refused: It still cannot.
        """
        self._perform()
        if self.failure is not None:
            raise self.failure

    def believe(self, event: Event) -> None:
        """The subscriber itself has something to say of it."""
        said = [waiting for waiting in self.lane.waiting if waiting.item is None]
        if len(said) >= BELIEFS_MAX:
            self.lane.take(said[0])
        self.lane.put(Waiting(event, None))

    def pause(self) -> None:
        """See ``handover.Origin``."""
        self._regard()
        for caller in self._callers.values():
            caller.pause()

    def resume(self) -> None:
        """See ``handover.Origin``."""
        self._regard()
        for caller in self._callers.values():
            caller.resume()

    def _regard(self) -> None:
        """Whether its silence counts: not while it is not listened to."""
        self._watch.unread(self.account.key, self._say_it_is_there if self.lane.paused and self._callers else None)

    def _say_it_is_there(self) -> None:
        """Its heartbeats are not read, and yet it is to have an answer to them."""
        state = self._receiver.state
        for caller in self._callers.values():
            caller.ack(state.handled if isinstance(state, Following) and not self.is_blocked else None)

    # Effects

    def _apply(self, event: receiving.Event, waiting: Waiting | None = None) -> None:
        self._receiver, effects = receiving.transition(self._receiver, event)
        self._effects.extend((effect, waiting) for effect in effects)
        self._perform()

    def _perform(self) -> None:
        if self._performing:
            return
        self._performing = True
        try:
            while self._effects and self._perform_one(*self._effects[0]):
                self._effects.popleft()
            self.failure = None
            self._handover.failed.discard(self)
        except Refused as error:
            self.failure = error
            self._handover.failed.add(self)
            self._handover.wake()
        finally:
            self._performing = False

    def _go_on(self) -> None:
        """What was blocked is so no longer."""
        self._perform()
        self._handover.wake()

    def _perform_one(self, effect: receiving.Effect | Hold, waiting: Waiting | None) -> bool:
        """Whether it is done; else ``_perform`` is called when it can be."""
        match effect:
            case Welcome(link=link, cursor=cursor):
                if link in self._callers:
                    self._callers[link].welcome(cursor)
            case HandOn(item=item, again=again):
                self._hand_on(item, again=again, waiting=waiting)
            case Keep(cursor=cursor):
                self.account.cursor = cursor
                return self._store.keep(self.account, self._go_on)
            case Ack(link=link, cursor=cursor):
                if link in self._callers:
                    self._callers[link].ack(cursor)
            case HangUp(link=link, why=why):
                self._hang_up(link, why)
            case Hold():
                return self._store.hold(self.account, self._go_on)
            case _:
                assert_never(effect)
        return True

    def _hand_on(self, item: Item, waiting: Waiting | None, *, again: bool) -> None:
        event = None if waiting is None else waiting.event
        if isinstance(item, Gap):
            event = self._own(item, "gap", {"first": item.first, "last": item.at.sequence}, again=again)
        elif event is not None and event.redelivered != again:
            event = replace(event, redelivered=again)
        if event is None and self._in_hand is None and not self.lane.waiting:
            self._apply(receiving.Handled(item))
        else:
            self.lane.put(Waiting(event, item))

    def _hang_up(self, link: int, why: str) -> None:
        caller = self._callers.get(link)
        if caller is None:
            return
        if link < self._receiver.links:  # a later one has taken its place
            caller.close()
        else:
            caller.hang_up(why)

    # Events

    def _waiting(self, told: Told) -> Waiting:
        """What the application is to get, if it is handed on.

        Raises:
            ValueError: It is forged, or broken; likewise TypeError, LookupError, OverflowError, OSError.
        """
        match told.item:
            case Entry(at=at):
                return Waiting(self._entry(at, told.payload), told.item)
            case Gap(at=at, previous=previous, first=first):
                if not previous < first <= at.sequence:
                    raise ValueError("a gap of nothing")
                return Waiting(None, told.item)
            case Reset():
                return Waiting(self._own(told.item, "reset", {}), told.item)
            case Snapshot():
                event = self._own(told.item, "snapshot", {"jobs": told.payload})
                return Waiting(event if self._wanted(event.kind, None) else None, told.item)
            case _:
                assert_never(told.item)

    def _entry(self, at: Cursor, wire: Payload) -> Event:
        if not isinstance(wire, Mapping) or wire["id"] != f"{at.epoch}/{at.sequence}":
            raise ValueError("an event of another place")
        typed = str(wire["type"]).startswith(TYPE_PREFIX) and isinstance(wire["time"], str)
        if not typed or not isinstance(wire["data"], Mapping) or not isinstance(wire.get("subject"), str | None):
            raise ValueError("no event of relaunch")
        event = Event.from_wire(dict(wire))
        if event.source != self.account.source or not self._wanted(event.kind, event.label):
            raise ValueError("an event that does not belong here")
        return event

    def _own(self, item: Item, mark: str, data: dict[str, Any], *, again: bool = False) -> Event:
        return Event(
            source=self.account.source or "",
            epoch=item.at.epoch,
            sequence=item.at.sequence,
            kind=f"stream.{mark}",
            label=None,
            at=time.time(),
            data={"label": None, **data},
            redelivered=again,
            mark=mark,
        )
