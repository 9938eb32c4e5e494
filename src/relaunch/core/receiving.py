"""A subscriber's side of one source: what is handed to the application, what is dropped, what is acknowledged.

Rules, each a clause of docs/protocol.md:
    1. What is handed on comes in the order of the journal, and never twice (D2, D4).
    2. What is acknowledged has been handled, and kept as such where the subscription is to outlive the subscriber (D3).
    3. A hole in the stream is refused, not skipped: the connection ends, and the next one begins before it (D2).
    4. No more waits for the application than the limit (D8).

Effects are performed in order, each when the one before has succeeded; what a driver keeps for an application that
handles one item at a time is thus behind by that one at most. Refuses to know of sockets, files, time and what events
say.
"""

from dataclasses import dataclass, replace
from typing import assert_never

from relaunch.core.delivery import Bookmark, Cursor, Entry, Gap, Item, Reset, Snapshot


@dataclass(frozen=True, slots=True)
class Blank:
    """Nothing has come yet, and only a snapshot can."""


@dataclass(frozen=True, slots=True)
class Following:
    """The stream is followed.

    Attributes:
        position: What has been received.
        resume: After what the next connection shall go on.
        handled: What may be acknowledged, None where nothing may.
        pending: What has been handed on and not been handled.
        in_doubt: Whether the next item may have been handled already, by a subscriber that was killed over it.
    """

    position: Cursor
    resume: Cursor
    handled: Cursor | None
    pending: tuple[Item, ...] = ()
    in_doubt: bool = False


State = Blank | Following


@dataclass(frozen=True, slots=True)
class Connected:
    """The launcher has called and proved who it is. Connections are numbered as they come; the last one counts."""

    link: int


@dataclass(frozen=True, slots=True)
class Disconnected:
    """A connection has ended."""

    link: int


@dataclass(frozen=True, slots=True)
class Arrived:
    """An item has come."""

    link: int
    item: Item


@dataclass(frozen=True, slots=True)
class Beaten:
    """A heartbeat has come."""

    link: int
    bookmark: Bookmark | None


@dataclass(frozen=True, slots=True)
class Handled:
    """The application is done with an item, and with those handed on before it."""

    item: Item


Event = Connected | Disconnected | Arrived | Beaten | Handled


@dataclass(frozen=True, slots=True)
class Welcome:
    """Take the connection, and say after what the stream shall go on; None asks for a snapshot."""

    link: int
    cursor: Cursor | None


@dataclass(frozen=True, slots=True)
class HandOn:
    """Give it to the application, after what it was given before.

    Attributes:
        item: What it is.
        again: Whether the application may have handled it already, in a life before this one.
    """

    item: Item
    again: bool = False


@dataclass(frozen=True, slots=True)
class Keep:
    """Put down that all up to there has been handled, so that the next subscriber of this name knows."""

    cursor: Cursor


@dataclass(frozen=True, slots=True)
class Ack:
    """Tell the launcher that all up to there has been handled; None only says that somebody is there."""

    link: int
    cursor: Cursor | None


@dataclass(frozen=True, slots=True)
class HangUp:
    """End the connection, and say why."""

    link: int
    why: str


Effect = Welcome | HandOn | Keep | Ack | HangUp


@dataclass(frozen=True, slots=True)
class Receiver:
    """What a subscription knows of one source.

    Attributes:
        durable: Whether the subscription outlives the subscriber.
        limit: Items that may wait for the application, at most.
        state: What is.
        link: The connection, None where there is none.
        links: Number of the last connection there was.
    """

    durable: bool
    limit: int
    state: State
    link: int | None = None
    links: int = 0


Step = tuple[Receiver, tuple[Effect, ...]]


def begin(*, durable: bool, limit: int, cursor: Cursor | None = None, in_doubt: bool = False) -> Receiver:
    """A source that nothing has come from in this life.

    Args:
        durable: Whether the subscription outlives the subscriber.
        limit: Items that may wait for the application; no less than the window, better twice that.
        cursor: What was kept last, or where to begin; None begins with a snapshot.
        in_doubt: The subscriber before was killed, perhaps after its application had handled what comes next.
    """
    if cursor is None:
        return Receiver(durable, limit, Blank())
    return Receiver(durable, limit, Following(cursor, cursor, cursor, in_doubt=in_doubt))


def transition(receiver: Receiver, event: Event) -> Step:
    """What an event makes of a source.

    Returns:
        The source as it now is, and what to do. What comes over a connection that is no longer the last one leaves it
        as it is.
    """
    match event:
        case Connected(link=link):
            return _connected(receiver, link)
        case Disconnected(link=link):
            return (replace(receiver, link=None) if link == receiver.link else receiver), ()
        case Arrived(link=link, item=item):
            return _arrived(receiver, item) if link == receiver.link else (receiver, ())
        case Beaten(link=link, bookmark=bookmark):
            return _beaten(receiver, link, bookmark) if link == receiver.link else (receiver, ())
        case Handled(item=item):
            return _handled(receiver, item)
        case _:
            assert_never(event)


def _connected(receiver: Receiver, link: int) -> Step:
    if link <= receiver.links:
        return receiver, (HangUp(link, "a later connection is there"),)
    before = () if receiver.link is None else (HangUp(receiver.link, "a later connection is there"),)
    state = receiver.state
    cursor = state.resume if isinstance(state, Following) else None
    return replace(receiver, link=link, links=link), (*before, Welcome(link, cursor))


def _arrived(receiver: Receiver, item: Item) -> Step:
    match receiver.state:
        case Blank():
            if isinstance(item, Snapshot):
                return _snapshot(receiver, item, ())
            return _refuse(receiver, "a stream that begins in the middle")
        case Following():
            return _followed(receiver, receiver.state, item)
        case _:
            assert_never(receiver.state)


def _followed(receiver: Receiver, state: Following, item: Item) -> Step:
    same = item.at.epoch == state.position.epoch
    match item:
        case Snapshot():
            return (receiver, ()) if item.at == state.position else _snapshot(receiver, item, state.pending)
        case Reset():
            return (receiver, ()) if same else _take(receiver, state, item)
        case Entry() | Gap():
            if not same or item.previous > state.position.sequence:
                return _refuse(receiver, "a hole in the stream")
            if item.at.sequence <= state.position.sequence:
                return receiver, ()
            if isinstance(item, Gap):
                item = replace(item, first=max(item.first, state.position.sequence + 1))
            return _take(receiver, state, item)
        case _:
            assert_never(item)


def _take(receiver: Receiver, state: Following, item: Item) -> Step:
    if len(state.pending) >= receiver.limit:
        return _refuse(receiver, "more than was asked for")
    pending = (*state.pending, item)
    # A gap is not what was in doubt: that may be the event after it.
    after = replace(state, position=item.at, pending=pending, in_doubt=state.in_doubt and isinstance(item, Gap))
    return replace(receiver, state=after), (HandOn(item, again=state.in_doubt),)


def _snapshot(receiver: Receiver, item: Snapshot, pending: tuple[Item, ...]) -> Step:
    """It may go back, where the journal has lost its end. Nothing is acknowledged until it has been handled."""
    if len(pending) >= receiver.limit:
        return _refuse(receiver, "more than was asked for")
    state = Following(item.at, item.at, None, (*pending, item))
    return replace(receiver, state=state), (HandOn(item),)


def _beaten(receiver: Receiver, link: int, bookmark: Bookmark | None) -> Step:
    state = receiver.state
    if isinstance(state, Blank):
        return receiver, (Ack(link, None),)
    if bookmark is not None:
        at = bookmark.at
        if at.epoch != state.position.epoch or bookmark.previous > state.position.sequence:
            return _refuse(receiver, "a hole in the stream")
        if at.sequence > state.position.sequence:
            state = replace(state, position=at, in_doubt=False)
    return _acknowledge(receiver, state, state.handled if state.pending else state.position)


def _handled(receiver: Receiver, item: Item) -> Step:
    state = receiver.state
    if isinstance(state, Blank) or item not in state.pending:
        return receiver, ()
    rest = state.pending[state.pending.index(item) + 1 :]
    state = replace(state, pending=rest)
    if any(isinstance(one, Snapshot) for one in rest):
        return replace(receiver, state=state), ()
    return _acknowledge(receiver, state, item.at if rest else state.position)


def _acknowledge(receiver: Receiver, state: Following, handled: Cursor | None) -> Step:
    keep: tuple[Effect, ...] = ()
    if handled is not None and handled != state.handled:
        state = replace(state, handled=handled, resume=handled)
        keep = (Keep(handled),) if receiver.durable else ()
    ack: tuple[Effect, ...] = () if receiver.link is None else (Ack(receiver.link, handled),)
    return replace(receiver, state=state), (*keep, *ack)


def _refuse(receiver: Receiver, why: str) -> Step:
    return replace(receiver, link=None), (HangUp(receiver.links, why),)
