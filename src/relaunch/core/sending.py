"""A launcher's side of one subscription: when to dial, what to read and send, when to give up.

Rules, each a clause of docs/protocol.md:
    1. Only what the journal has committed is sent, in its order (D1).
    2. The stream goes on after what the subscriber says that its application has handled (D3).
    3. What is sent and not acknowledged stays within the window, what is sent within the rate (D8).
    4. A subscriber is dialled again, with growing and jittered delays, until its lease is over (D9).

A sender remembers places, not events: it asks for what it may send now, and that is sent at once. ``now`` is a clock
that does not jump, ``roll`` a random number from 0 to 1. Refuses to know of sockets, patterns and what events say.
"""

from dataclasses import replace
from typing import assert_never

from relaunch.core.delivery import Bookmark, Cursor, Entry, Gap, Item, Reset, Snapshot
from relaunch.core.sender import (
    Acked,
    Beat,
    Committed,
    Dial,
    Dialling,
    Disconnected,
    Effect,
    Event,
    Expire,
    HangUp,
    Keep,
    Link,
    Over,
    Renewed,
    Scan,
    Scanned,
    Send,
    Sender,
    Snapped,
    Snapping,
    Streaming,
    TakeSnapshot,
    Terms,
    Tick,
    Unsubscribed,
    Waiting,
    Welcomed,
)

DIAL_S = 5.0
# How long a heartbeat may go unanswered. A subscriber answers at once, however slow its application is.
SILENCE_S = 10.0
RETRY_S_FIRST = 0.1
RETRY_S_MAX = 10.0
# A connection that lasted so long was a good one: the next is not made to wait for the failures before it.
STEADY_S = 5.0
# When the rate is used up, sending rests so long: one timer for many events.
PAUSE_S = 0.01

Step = tuple[Sender, tuple[Effect, ...]]


def begin(terms: Terms, cursor: Cursor | None, *, now: float) -> Step:
    """A subscription, new or found in the journal.

    Args:
        terms: What it may cost.
        cursor: How far its application had come, None where it has nothing.
        now: The lease begins with it.
    """
    sender = Sender(terms, cursor, Over("unsubscribed"), 0, now, float(terms.burst), now)
    return _dial(sender, 0, now)


def transition(sender: Sender, event: Event, now: float, roll: float) -> Step:
    """What an event makes of a subscription.

    Args:
        sender: As it is.
        event: What happened.
        now: A clock that does not jump.
        roll: From 0 to 1, another one each time.

    Returns:
        The subscription as it now is, and what to do. An event that means nothing in this state (late, of an earlier
        connection) leaves it as it is.
    """
    if isinstance(event, Welcomed | Disconnected | Scanned | Snapped | Acked) and event.dial != sender.dial:
        return sender, ()
    match sender.state:
        case Waiting():
            return _waiting(sender, sender.state, event, now)
        case Dialling():
            return _dialling(sender, sender.state, event, now, roll)
        case Snapping():
            return _snapping(sender, sender.state, event, now, roll)
        case Streaming():
            return _streaming(sender, sender.state, event, now, roll)
        case Over():
            return sender, ()
        case _:
            assert_never(sender.state)


def deadline(sender: Sender) -> float | None:
    """When ``transition`` wants a ``Tick``; None where it wants none."""
    match sender.state:
        case Waiting(retry_at=retry_at):
            return retry_at
        case Dialling(give_up_at=give_up_at):
            return give_up_at
        case Snapping(link=link):
            return _link_due(link)
        case Streaming(link=link, resume_at=resume_at):
            return _link_due(link) if resume_at is None else min(_link_due(link), resume_at)
        case Over():
            return None
        case _:
            assert_never(sender.state)


def is_caught_up(sender: Sender) -> bool:
    """Whether the application has handled all that it can be told: a shutdown waits for that, for a while."""
    state = sender.state
    return isinstance(state, Streaming) and _is_read(state) and not state.in_flight


def _waiting(sender: Sender, state: Waiting, event: Event, now: float) -> Step:
    match event:
        case Tick() if now >= state.retry_at:
            return _dial(sender, state.attempt, now)
        case Renewed():
            return _renewed(sender, now)
        case Unsubscribed():
            return replace(sender, state=Over("unsubscribed")), ()
        case Tick() | Welcomed() | Disconnected() | Committed() | Scanned() | Snapped() | Acked():
            return sender, ()
        case _:
            assert_never(event)


def _dialling(sender: Sender, state: Dialling, event: Event, now: float, roll: float) -> Step:
    match event:
        case Welcomed():
            return _open(sender, state, event, now, roll)
        case Disconnected():
            return _retry(sender, state.attempt, now, roll)
        case Tick() if now >= state.give_up_at:
            return _hang_up(sender, state.attempt, now, roll)
        case Renewed():
            return _renewed(sender, now, HangUp(sender.dial))
        case Unsubscribed():
            return replace(sender, state=Over("unsubscribed")), (HangUp(sender.dial),)
        case Tick() | Committed() | Scanned() | Snapped() | Acked():
            return sender, ()
        case _:
            assert_never(event)


def _snapping(sender: Sender, state: Snapping, event: Event, now: float, roll: float) -> Step:
    match event:
        case Snapped(at=at, journal=journal):
            streaming = Streaming(state.link, journal, at, at.sequence, (at,))
            after, effects = _pump(_taken(sender, 1, now), streaming, now)
            return after, (Send(sender.dial, (Snapshot(at),)), *effects)
        case Acked():
            return replace(sender, heard_at=now, state=Snapping(replace(state.link, unanswered_since=None))), ()
        case Tick():
            return _tick_snapping(sender, state, now, roll)
        case Disconnected():
            return _retry(sender, _failures(state.link, now), now, roll)
        case Renewed():
            return _renewed(sender, now, HangUp(sender.dial))
        case Unsubscribed():
            return replace(sender, state=Over("unsubscribed")), (HangUp(sender.dial),)
        case Welcomed() | Committed() | Scanned():
            return sender, ()
        case _:
            assert_never(event)


def _streaming(sender: Sender, state: Streaming, event: Event, now: float, roll: float) -> Step:
    match event:
        case Committed(journal=journal):
            return _pump(sender, replace(state, journal=journal), now)
        case Scanned():
            return _scanned(sender, state, event, now)
        case Acked(at=at):
            return _acked(sender, state, at, now, roll)
        case Tick():
            return _tick(sender, state, now, roll)
        case Disconnected():
            return _retry(sender, _failures(state.link, now), now, roll)
        case Renewed():
            return _renewed(sender, now, HangUp(sender.dial))
        case Unsubscribed():
            return replace(sender, state=Over("unsubscribed")), (HangUp(sender.dial),)
        case Welcomed() | Snapped():
            return sender, ()
        case _:
            assert_never(event)


def _dial(sender: Sender, attempt: int, now: float) -> Step:
    dial = sender.dial + 1
    return replace(sender, dial=dial, state=Dialling(attempt, now + DIAL_S)), (Dial(dial),)


def _renewed(sender: Sender, now: float, *before: Effect) -> Step:
    after, effects = _dial(replace(sender, heard_at=now), 0, now)
    return after, (*before, *effects)


def _hang_up(sender: Sender, attempt: int, now: float, roll: float) -> Step:
    after, effects = _retry(sender, attempt, now, roll)
    return after, (HangUp(sender.dial), *effects)


def _retry(sender: Sender, attempt: int, now: float, roll: float) -> Step:
    """After a failure, and not at a time of its own, the lease may be over: who slept tries once more first."""
    if now >= sender.heard_at + sender.terms.lease_s:
        return replace(sender, state=Over("expired")), (Expire(),)
    delay = min(RETRY_S_MAX, RETRY_S_FIRST * 2.0 ** min(attempt, 16))
    return replace(sender, state=Waiting(attempt + 1, now + delay * (0.5 + roll / 2))), ()


def _failures(link: Link, now: float) -> int:
    return 0 if now - link.since >= STEADY_S else link.attempt


def _open(sender: Sender, state: Dialling, event: Welcomed, now: float, roll: float) -> Step:
    cursor, journal = event.cursor, event.journal
    sender = replace(sender, acked=cursor, heard_at=now)
    link = _beaten(sender.terms, Link(state.attempt, now, now), now, roll)
    link = replace(link, unanswered_since=None)
    # A place that the journal has not reached yet: a power loss took its end. What that was, nobody knows.
    if cursor is None or (cursor.epoch == journal.epoch and cursor.sequence > journal.sequence):
        return replace(sender, state=Snapping(link)), (TakeSnapshot(sender.dial),)
    return _pump(sender, Streaming(link, journal, cursor, cursor.sequence), now)


def _pump(sender: Sender, state: Streaming, now: float) -> Step:
    """Read on, as far as window and rate allow."""
    free = sender.terms.window - len(state.in_flight)
    if state.scanning or free <= 0 or _is_read(state):
        return replace(sender, state=replace(state, resume_at=None)), ()
    allowed = int(_tokens(sender, now))
    if allowed < 1:
        return replace(sender, state=replace(state, resume_at=now + max(PAUSE_S, 1 / sender.terms.rate))), ()
    if state.position.epoch != state.journal.epoch:
        reset = Reset(Cursor(state.journal.epoch, 0))
        state = replace(state, position=reset.at, told=0, in_flight=(*state.in_flight, reset.at))
        after, effects = _pump(_taken(sender, 1, now), state, now)
        return after, (Send(sender.dial, (reset,)), *effects)
    state = replace(state, scanning=True, resume_at=None)
    return replace(sender, state=state), (Scan(sender.dial, state.position, min(free, allowed)),)


def _is_read(state: Streaming) -> bool:
    return state.position.epoch == state.journal.epoch and state.position.sequence >= state.journal.sequence


def _scanned(sender: Sender, state: Streaming, event: Scanned, now: float) -> Step:
    if not state.scanning or event.after != state.position:
        return sender, ()
    state = replace(state, scanning=False)
    if event.epoch != event.after.epoch:
        if state.journal.epoch == event.after.epoch:  # the news of it is on its way
            state = replace(state, journal=Cursor(event.epoch, event.through))
        return _pump(sender, state, now)
    items = _items(state, event)
    told = items[-1].at.sequence if items else state.told
    position = replace(state.position, sequence=event.through)
    if event.compacted_to > event.after.sequence:  # what comes after the gap is asked for anew: the window is counted
        position = replace(state.position, sequence=told)
    in_flight = (*state.in_flight, *(item.at for item in items))
    if state.journal.epoch == position.epoch and state.journal.sequence < position.sequence:
        state = replace(state, journal=position)
    state = replace(state, position=position, told=told, in_flight=in_flight)
    after, effects = _pump(_taken(sender, len(items), now), state, now)
    return after, ((Send(sender.dial, items), *effects) if items else effects)


def _items(state: Streaming, event: Scanned) -> tuple[Item, ...]:
    epoch, previous = event.epoch, state.told
    if event.compacted_to > event.after.sequence:
        return (Gap(Cursor(epoch, event.compacted_to), previous, event.after.sequence + 1),)
    before = (previous, *event.matching)
    return tuple(Entry(Cursor(epoch, at), last) for last, at in zip(before, event.matching, strict=False))


def _acked(sender: Sender, state: Streaming, at: Cursor | None, now: float, roll: float) -> Step:
    if at is not None and at.epoch == state.position.epoch and at.sequence > state.told:
        # Nothing that it says can be believed, and its next welcome may be sound.
        return _hang_up(sender, _failures(state.link, now), now, roll)
    state = replace(state, link=replace(state.link, unanswered_since=None))
    sender = replace(sender, heard_at=now, state=state)
    if at is None or not _is_after(at, sender.acked, state.position.epoch):
        return sender, ()
    state = replace(state, in_flight=state.in_flight[_covered(state, at) :])
    after, effects = _pump(replace(sender, acked=at), state, now)
    return after, (Keep(at), *effects)


def _covered(state: Streaming, at: Cursor) -> int:
    """How many of the items in flight that acknowledges; those of an earlier epoch come first."""
    for number, one in enumerate(state.in_flight):
        before = one.epoch != at.epoch and at.epoch == state.position.epoch
        if not before and (one.epoch != at.epoch or one.sequence > at.sequence):
            return number
    return len(state.in_flight)


def _is_after(at: Cursor, acked: Cursor | None, epoch: str) -> bool:
    if acked is None or at.epoch != acked.epoch:
        return at.epoch == epoch
    return at.sequence > acked.sequence


def _tick_snapping(sender: Sender, state: Snapping, now: float, roll: float) -> Step:
    if _is_silent(state.link, now):
        return _hang_up(sender, _failures(state.link, now), now, roll)
    if now < state.link.beat_at:
        return sender, ()
    link = _beaten(sender.terms, state.link, now, roll)
    return replace(sender, state=Snapping(link)), (Beat(sender.dial, None),)


def _tick(sender: Sender, state: Streaming, now: float, roll: float) -> Step:
    if _is_silent(state.link, now):
        return _hang_up(sender, _failures(state.link, now), now, roll)
    beat: tuple[Effect, ...] = ()
    if now >= state.link.beat_at:
        bookmark = Bookmark(state.position, state.told)
        beat = (Beat(sender.dial, bookmark),)
        link = _beaten(sender.terms, state.link, now, roll)
        state = replace(state, link=link, told=state.position.sequence)
    if state.resume_at is None or now < state.resume_at:
        return replace(sender, state=state), beat
    after, effects = _pump(sender, state, now)
    return after, (*beat, *effects)


def _link_due(link: Link) -> float:
    silent = link.beat_at if link.unanswered_since is None else link.unanswered_since + SILENCE_S
    return min(link.beat_at, silent)


def _is_silent(link: Link, now: float) -> bool:
    return link.unanswered_since is not None and now >= link.unanswered_since + SILENCE_S


def _beaten(terms: Terms, link: Link, now: float, roll: float) -> Link:
    """After a heartbeat. A thousand launchers do not beat at one instant."""
    since = now if link.unanswered_since is None else link.unanswered_since
    return replace(link, beat_at=now + terms.beat_s * (0.8 + roll / 5), unanswered_since=since)


def _tokens(sender: Sender, now: float) -> float:
    return min(float(sender.terms.burst), sender.tokens + (now - sender.filled_at) * sender.terms.rate)


def _taken(sender: Sender, count: int, now: float) -> Sender:
    return replace(sender, tokens=_tokens(sender, now) - count, filled_at=now)
