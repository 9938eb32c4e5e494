"""What a subscriber believes of the hosts it hears: up, suspect, lost; and what it knows of their launchers.

Rules, each a clause of docs/protocol.md:
    1. Silence is a suspicion, never a certainty; only another boot id or run, or somebody who knows, is certain (D11).
    2. A host that vanishes is suspected within ``suspect_after_s``; those that vanish together are told together (D10).
    3. A subscriber that was late itself withdraws its suspicions first, and accuses nobody for its own silence (D12).

``now`` is a clock that does not jump. Refuses to know of sockets, heartbeats' contents and what is done about a loss.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, assert_never

# Heartbeats, and looks at the clock, within the time after which a host is suspected.
BEATS = 5
# Last heartbeats of those that vanish together lie up to a beat apart, and on busy hosts or networks a little more.
BEATS_TOGETHER = 1.5
SUSPECT_AFTER_S = 3.0
"""For how long a host may be silent, where nobody says otherwise."""
SUSPECT_AFTER_S_MIN, SUSPECT_AFTER_S_MAX = 0.2, 3600.0


@dataclass(frozen=True, slots=True)
class Terms:
    """How long silence may last.

    Attributes:
        suspect_after_s: After that a host is suspected.
        lost_after_s: After that it is taken for lost.
    """

    suspect_after_s: float = SUSPECT_AFTER_S
    lost_after_s: float = 9.0

    @property
    def beat_s(self) -> float:
        """Seconds between heartbeats, at most; and between a subscriber's looks at its clock."""
        return self.suspect_after_s / BEATS


@dataclass(frozen=True, slots=True)
class Run:
    """Which launcher it is.

    Attributes:
        boot_id: Its host's.
        number: Grows with each start, across boots too: a launcher takes the last one it wrote down plus one, or the
            wall clock if that is more. Networks reorder connections; this tells a word that is late from a new one.
    """

    boot_id: str
    number: int


@dataclass(frozen=True, slots=True)
class Up:
    """It is heard."""

    heard_at: float


@dataclass(frozen=True, slots=True)
class Suspect:
    """It has not been heard for a while."""

    heard_at: float


@dataclass(frozen=True, slots=True)
class Lost:
    """It has not been heard for long."""

    heard_at: float


@dataclass(frozen=True, slots=True)
class Ended:
    """The launcher has ended, for certain; of its host nothing is known from then on."""

    since: float


State = Up | Suspect | Lost | Ended


@dataclass(frozen=True, slots=True)
class Met:
    """It has called, and said which run it is."""

    run: Run


@dataclass(frozen=True, slots=True)
class Heard:
    """Anything else has come from that run."""

    run: Run


@dataclass(frozen=True, slots=True)
class Gone:
    """That run has ended: it said so itself before it did, or its keeper says so."""

    run: Run


Event = Met | Heard | Gone

Kind = Literal[
    "host.suspect", "host.lost", "host.back", "host.withdrawn", "host.rebooted", "launcher.lost", "launcher.restarted"
]


@dataclass(frozen=True, slots=True)
class Report:
    """Something to tell the application.

    Attributes:
        kind: What; ``host.withdrawn`` takes a ``host.suspect`` back, because the subscriber itself was late.
        certain: Whether that is known. What is not is suspected.
        silent_s: For how long each source of it has not been heard; 0 where that is not the reason.
    """

    kind: Kind
    certain: bool
    silent_s: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Peer:
    """One launcher, and so one host.

    Attributes:
        source: Its name.
        run: Which run it is.
        state: What is believed.
    """

    source: str
    run: Run
    state: State


@dataclass(frozen=True, slots=True)
class Watch:
    """The subscriber's own clock.

    Attributes:
        terms: How long silence may last.
        looked_at: When it last looked.
    """

    terms: Terms
    looked_at: float


Step = tuple[Peer, tuple[Report, ...]]


def meet(source: str, run: Run, *, now: float) -> Peer:
    """A launcher that calls for the first time."""
    return Peer(source, run, Up(now))


def transition(peer: Peer, event: Event, now: float) -> Step:
    """What an event makes of a peer.

    Returns:
        The peer as it now is, and what to tell. What is late of an earlier run leaves it as it is.
    """
    match event:
        case Met(run=run):
            return _met(peer, run, now)
        case Heard(run=run):
            return _heard(peer, now) if run == peer.run else (peer, ())
        case Gone(run=run):
            if run != peer.run or isinstance(peer.state, Ended):
                return peer, ()
            return replace(peer, state=Ended(now)), (_one(peer, "launcher.lost"),)
        case _:
            assert_never(event)


def deadline(watch: Watch, peers: Mapping[str, Peer]) -> float | None:
    """When ``review`` is wanted, at the latest; None where there is nobody to watch.

    Stays right until the next review, whatever is heard: it can only become too early.
    """
    due = [at for peer in peers.values() if (at := _due(peer.state, watch.terms)) is not None]
    # Its own lateness shows only to one who looks often, so also when nobody is overdue.
    return min(*(_look_at(watch, at) for at in due), watch.looked_at + watch.terms.beat_s) if due else None


def _look_at(watch: Watch, due: float) -> float:
    """A look shortly before, and then the one that accuses: what came in between has been read by then."""
    beat_s = watch.terms.beat_s
    early = due - beat_s / 2
    if watch.looked_at < early:
        return early
    return max(due, watch.looked_at + beat_s / 8)


def review(watch: Watch, peers: Mapping[str, Peer], now: float) -> tuple[Watch, dict[str, Peer], tuple[Report, ...]]:
    """Look at the clock.

    Args:
        watch: The subscriber's own clock.
        peers: All that are watched, by source.
        now: At ``deadline``, or before or after it.

    Returns:
        The clock; the peers that are believed otherwise now; what to tell, at most one report of each kind.
    """
    terms, after = watch.terms, replace(watch, looked_at=now)
    beats = (now - watch.looked_at) / terms.beat_s
    if beats > 2:
        return after, *_excuse(peers, now)
    # A little late: what has come meanwhile may lie unread. The next look is soon.
    return after, *(_accuse(terms, peers, now) if beats <= 0.75 else ({}, ()))


def _met(peer: Peer, run: Run, now: float) -> Step:
    old, up = peer.run, replace(peer, run=run, state=Up(now))
    if run == old:
        return _heard(peer, now)
    if run.number <= old.number:
        return peer, ()
    if run.boot_id != old.boot_id:
        return up, (_one(peer, "host.rebooted"),)
    restarted = _one(peer, "launcher.restarted")
    match peer.state:
        case Suspect() | Lost():
            return up, (_one(peer, "host.back"), restarted)
        case Up() | Ended():
            return up, (restarted,)
        case _:
            assert_never(peer.state)


def _heard(peer: Peer, now: float) -> Step:
    match peer.state:
        case Up():
            return replace(peer, state=Up(now)), ()
        case Suspect() | Lost():
            return replace(peer, state=Up(now)), (_one(peer, "host.back"),)
        case Ended():  # late: it was said before the end
            return peer, ()
        case _:
            assert_never(peer.state)


def _one(peer: Peer, kind: Kind) -> Report:
    return Report(kind, True, {peer.source: 0.0})


def _due(state: State, terms: Terms) -> float | None:
    match state:
        case Up(heard_at=heard_at):
            return heard_at + terms.suspect_after_s
        case Suspect(heard_at=heard_at):
            return heard_at + terms.lost_after_s
        case Lost() | Ended():
            return None
        case _:
            assert_never(state)


def _excuse(peers: Mapping[str, Peer], now: float) -> tuple[dict[str, Peer], tuple[Report, ...]]:
    """The subscriber did not listen. Who was lost before that stays lost; nobody else has been silent yet."""
    suspects = {source: now - peer.state.heard_at for source, peer in peers.items() if isinstance(peer.state, Suspect)}
    changed = {
        source: replace(peer, state=Up(now)) for source, peer in peers.items() if isinstance(peer.state, Up | Suspect)
    }
    return changed, ((Report("host.withdrawn", True, suspects),) if suspects else ())


def _accuse(terms: Terms, peers: Mapping[str, Peer], now: float) -> tuple[dict[str, Peer], tuple[Report, ...]]:
    up = {source: peer.state.heard_at for source, peer in peers.items() if isinstance(peer.state, Up)}
    suspect = {source: peer.state.heard_at for source, peer in peers.items() if isinstance(peer.state, Suspect)}
    suspects = _overdue(up, terms.suspect_after_s, terms.beat_s, now)
    lost = _overdue(suspect, terms.lost_after_s, terms.beat_s, now)
    changed = {source: replace(peers[source], state=Suspect(since)) for source, since in suspects.items()}
    changed |= {source: replace(peers[source], state=Lost(since)) for source, since in lost.items()}
    told: tuple[tuple[Kind, dict[str, float]], ...] = (("host.suspect", suspects), ("host.lost", lost))
    reports = [Report(kind, False, {one: now - since for one, since in found.items()}) for kind, found in told if found]
    return changed, tuple(reports)


def _overdue(heard: Mapping[str, float], after_s: float, beat_s: float, now: float) -> dict[str, float]:
    """Who has not been heard for so long.

    Once there is one, those that would follow shortly are taken with it: they fell silent together.
    """
    # As in ``deadline``, to the last bit: else a timer would ring, nothing would happen, and it would ring again.
    if not heard or min(heard.values()) + after_s > now:
        return {}
    return {source: since for source, since in heard.items() if since + after_s - BEATS_TOGETHER * beat_s <= now}
