"""A launcher's side of one subscription."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from relaunch.core import sending as core
from relaunch.core.delivery import Bookmark, Cursor, Entry, Gap, Reset, Snapshot
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
    Over,
    Renewed,
    Scan,
    Scanned,
    Send,
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

TERMS = Terms(window=4, rate=100.0, burst=8, beat_s=1.0, lease_s=1000.0)


def at(sequence: int, epoch: str = "e") -> Cursor:
    return Cursor(epoch, sequence)


class Subscription:
    """One subscription, driven by hand."""

    def __init__(self, terms: Terms = TERMS, cursor: Cursor | None = None) -> None:
        self.now, self.roll = 0.0, 1.0
        self.sender, self.effects = core.begin(terms, cursor, now=0.0)

    def apply(self, event: Event, after: float = 0.0) -> tuple[Effect, ...]:
        self.now += after
        self.sender, self.effects = core.transition(self.sender, event, self.now, self.roll)
        return self.effects

    def welcome(self, cursor: Cursor | None, journal: Cursor) -> "Subscription":
        self.apply(Welcomed(self.dial, cursor, journal))
        return self

    def scanned(self, *matching: int, after: int, through: int, compacted_to: int = 0) -> tuple[Effect, ...]:
        return self.apply(Scanned(self.dial, at(after), "e", through, matching, compacted_to))

    def tick(self) -> tuple[Effect, ...]:
        """The timer rings."""
        due = core.deadline(self.sender)
        assert due is not None
        return self.apply(Tick(), due - self.now)

    @property
    def dial(self) -> int:
        return self.sender.dial

    @property
    def streaming(self) -> Streaming:
        assert isinstance(self.sender.state, Streaming)
        return self.sender.state


def waiting() -> Subscription:
    subscription = Subscription()
    subscription.apply(Disconnected(1))
    return subscription


def snapping() -> Subscription:
    return Subscription().welcome(None, at(5))


def streaming(handled: int = 5, last: int = 5, terms: Terms = TERMS) -> Subscription:
    return Subscription(terms).welcome(at(handled), at(last))


def over() -> Subscription:
    subscription = Subscription()
    subscription.apply(Unsubscribed())
    return subscription


def entries(*sequences: int, previous: int) -> tuple[Entry, ...]:
    return tuple(Entry(at(one), last) for last, one in zip((previous, *sequences), sequences, strict=False))


def test_a_subscription_dials_at_once_and_goes_on_after_what_was_handled() -> None:
    """[D3] Whatever the launcher remembers of it."""
    subscription = Subscription(cursor=at(9))
    assert subscription.effects == (Dial(1),)
    assert subscription.welcome(at(5), at(7)).effects == (Scan(1, at(5), 4),)
    assert subscription.scanned(6, 7, after=5, through=7) == (Send(1, entries(6, 7, previous=5)),)


def test_what_is_committed_is_read_and_what_matches_is_sent() -> None:
    """[D1] [D2]"""
    subscription = streaming()
    assert subscription.effects == ()
    assert subscription.apply(Committed(at(9))) == (Scan(1, at(5), 4),)
    assert subscription.apply(Committed(at(10))) == ()
    assert subscription.scanned(7, after=5, through=8) == (Send(1, entries(7, previous=5)), Scan(1, at(8), 3))
    assert subscription.scanned(after=8, through=11) == ()
    assert subscription.apply(Committed(at(11))) == ()


def test_what_is_in_flight_stays_within_the_window() -> None:
    """[D8]"""
    subscription = streaming(5, 50)
    assert list(subscription.effects) == [Scan(1, at(5), 4)]
    assert subscription.scanned(6, 7, 8, 9, after=5, through=9) == (Send(1, entries(6, 7, 8, 9, previous=5)),)
    assert subscription.apply(Committed(at(60))) == ()
    assert subscription.apply(Acked(1, at(7))) == (Keep(at(7)), Scan(1, at(9), 2))
    assert subscription.streaming.in_flight == (at(8), at(9))
    assert subscription.apply(Acked(1, at(7))) == ()
    assert subscription.apply(Acked(1, at(9))) == (Keep(at(9)),)


def test_what_is_sent_stays_within_the_rate() -> None:
    """[D8] In the long run; then it rests, with one timer for many events."""
    subscription = streaming(0, 1000, replace(TERMS, window=100))
    assert list(subscription.effects) == [Scan(1, at(0), 8)]
    assert subscription.scanned(*range(1, 9), after=0, through=8) == (Send(1, entries(*range(1, 9), previous=0)),)
    assert core.deadline(subscription.sender) == core.PAUSE_S
    assert subscription.apply(Tick(), 0.001) == ()
    assert subscription.tick() == (Scan(1, at(8), 1),)


def test_a_heartbeat_moves_the_bookmark_of_a_filtered_subscription() -> None:
    """[D5] [D10] No sooner than it is due, no later, and not all at one instant."""
    subscription = streaming()
    subscription.apply(Committed(at(30)))
    subscription.scanned(after=5, through=30)
    subscription.roll = 0.0
    assert subscription.apply(Tick(), 0.5) == ()
    assert subscription.tick() == (Beat(1, Bookmark(at(30), 5)),)
    assert subscription.now == TERMS.beat_s
    subscription.apply(Acked(1, at(30)))
    assert subscription.sender.acked == at(30)
    assert core.deadline(subscription.sender) == TERMS.beat_s + 0.8
    subscription.apply(Committed(at(31)))
    assert subscription.scanned(31, after=30, through=31) == (Send(1, entries(31, previous=30)),)


def test_what_was_compacted_away_is_told_as_a_gap() -> None:
    """[D5] And what comes after it is asked for anew."""
    subscription = streaming(5, 50)
    subscription.scanned(after=5, through=10)
    subscription.scanned(31, 32, after=10, through=35, compacted_to=30)
    assert subscription.effects == (Send(1, (Gap(at(30), 5, 11),)), Scan(1, at(30), 3))
    assert subscription.scanned(31, after=30, through=35, compacted_to=30)[0] == Send(1, entries(31, previous=30))


def test_a_new_journal_is_told_as_a_reset() -> None:
    """[D6] On the next connection."""
    subscription = Subscription().welcome(at(5), at(3, "f"))
    reset = Reset(at(0, "f"))
    assert subscription.effects == (Send(1, (reset,)), Scan(1, at(0, "f"), 3))


@pytest.mark.parametrize("told_first", [False, True])
def test_a_journal_may_be_lost_at_any_moment(told_first: bool) -> None:
    """[D6] Whether the sender hears of it by a commit or by what it reads."""
    subscription = streaming(5, 9)
    if told_first:
        assert subscription.apply(Committed(at(3, "f"))) == ()
    subscription.apply(Scanned(1, at(5), "f", 3))
    assert subscription.effects == (Send(1, (Reset(at(0, "f")),)), Scan(1, at(0, "f"), 3))
    assert subscription.apply(Scanned(1, at(5), "e", 9, (6,))) == ()


def test_acknowledgements_of_both_epochs_count() -> None:
    """[D6] [D8]"""
    subscription = streaming(5, 8)
    subscription.scanned(6, 7, 8, after=5, through=8)
    subscription.apply(Committed(at(0, "f")))
    assert list(subscription.streaming.in_flight) == [at(6), at(7), at(8), at(0, "f")]
    assert subscription.apply(Acked(1, at(7))) == (Keep(at(7)),)
    assert list(subscription.streaming.in_flight) == [at(8), at(0, "f")]
    subscription.apply(Acked(1, at(8)))
    assert list(subscription.streaming.in_flight) == [at(0, "f")]
    subscription.apply(Acked(1, at(0, "f")))
    assert core.is_caught_up(subscription.sender)
    assert subscription.apply(Acked(1, at(8))) == ()


def test_a_subscriber_that_knows_nothing_gets_a_snapshot_and_what_follows() -> None:
    """[D7]"""
    subscription = snapping()
    assert subscription.effects == (TakeSnapshot(1),)
    assert not core.is_caught_up(subscription.sender)
    assert subscription.apply(Committed(at(8))) == ()
    assert subscription.apply(Snapped(1, at(6), at(8))) == (Send(1, (Snapshot(at(6)),)), Scan(1, at(6), 3))
    assert subscription.apply(Acked(1, at(6))) == (Keep(at(6)),)


def test_a_place_that_the_journal_has_not_reached_gets_a_snapshot_too() -> None:
    """[D7] A power loss took the end of the journal."""
    assert Subscription().welcome(at(9), at(7)).effects == (TakeSnapshot(1),)


def test_a_slow_snapshot_does_not_silence_the_launcher() -> None:
    """[D7] [D10]"""
    subscription = snapping()
    assert subscription.apply(Tick(), 0.5) == ()
    assert subscription.tick() == (Beat(1, None),)
    assert subscription.apply(Acked(1, None)) == ()
    assert isinstance(subscription.sender.state, Snapping)


@pytest.mark.parametrize("begin", [snapping, streaming])
def test_a_connection_over_which_nothing_comes_back_is_given_up(begin: Callable[[], Subscription]) -> None:
    """[D9] And kept as long as anything does."""
    subscription = begin()
    for _ in range(20):
        subscription.tick()
        subscription.apply(Acked(1, None))
    last = subscription.now
    while subscription.tick() and not isinstance(subscription.effects[0], HangUp):
        pass
    assert subscription.effects == (HangUp(1),)
    assert subscription.now == pytest.approx(last + TERMS.beat_s + core.SILENCE_S)


def test_dials_grow_rarer_and_go_on_until_the_lease_is_over() -> None:
    """[D9]"""
    subscription, delays = Subscription(), list[float]()
    while not isinstance(subscription.sender.state, Over):
        subscription.apply(Disconnected(subscription.dial))
        if isinstance(subscription.sender.state, Waiting):
            delays.append(subscription.sender.state.retry_at - subscription.now)
            subscription.tick()
    assert delays[:4] == pytest.approx([0.1, 0.2, 0.4, 0.8])
    assert delays[-1] == pytest.approx(core.RETRY_S_MAX)
    assert subscription.effects == (Expire(),)
    assert TERMS.lease_s <= subscription.now < TERMS.lease_s + core.RETRY_S_MAX
    assert core.deadline(subscription.sender) is None


def test_delays_are_jittered() -> None:
    """[D9] By half."""
    subscription = Subscription()
    subscription.roll = 0.0
    subscription.apply(Disconnected(1))
    assert core.deadline(subscription.sender) == core.RETRY_S_FIRST / 2


def test_a_dial_that_leads_nowhere_is_given_up() -> None:
    """[D9]"""
    subscription = Subscription()
    assert subscription.apply(Tick(), 1.0) == ()
    assert subscription.tick() == (HangUp(1),)
    assert subscription.now == core.DIAL_S


@pytest.mark.parametrize(("lasted_s", "attempt"), [(0.5, 4), (6.0, 1)])
@pytest.mark.parametrize("known", [True, False])
def test_a_connection_that_did_not_last_counts_as_a_failure(lasted_s: float, attempt: int, known: bool) -> None:
    """[D9]"""
    subscription = Subscription()
    for _ in range(3):
        subscription.apply(Disconnected(subscription.dial))
        subscription.tick()
    subscription.welcome(at(5) if known else None, at(5))
    subscription.apply(Disconnected(subscription.dial), lasted_s)
    assert isinstance(subscription.sender.state, Waiting)
    assert subscription.sender.state.attempt == attempt


@pytest.mark.parametrize(("begin", "hangs_up"), [(waiting, 0), (Subscription, 1), (snapping, 1), (streaming, 1)])
def test_who_subscribes_again_is_dialled_at_once(begin: Callable[[], Subscription], hangs_up: int) -> None:
    """[D9] What connection there was is of its last life."""
    subscription = begin()
    assert subscription.apply(Renewed(), 1.0) == (HangUp(1),) * hangs_up + (Dial(2),)
    assert subscription.sender.heard_at == 1.0


@pytest.mark.parametrize(("begin", "hangs_up"), [(waiting, 0), (Subscription, 1), (snapping, 1), (streaming, 1)])
def test_who_unsubscribes_hears_nothing_more(begin: Callable[[], Subscription], hangs_up: int) -> None:
    """[D9]"""
    subscription = begin()
    assert subscription.apply(Unsubscribed()) == (HangUp(1),) * hangs_up
    assert subscription.sender.state == Over("unsubscribed")
    assert subscription.apply(Renewed()) == ()


def test_an_acknowledgement_of_what_was_not_sent_ends_the_connection() -> None:
    """[D3]"""
    assert streaming(5, 9).apply(Acked(1, at(6))) == (HangUp(1),)


def test_what_belongs_to_an_earlier_connection_is_ignored() -> None:
    """[D3]"""
    subscription = waiting()
    subscription.tick()
    before = subscription.sender
    for event in (Welcomed(1, at(5), at(5)), Disconnected(1), Scanned(1, at(5), "e", 5), Snapped(1, at(5), at(5))):
        assert subscription.apply(event) == ()
    assert subscription.apply(Acked(1, at(5))) == ()
    assert subscription.sender == before


NOTHING: list[tuple[Callable[[], Subscription], list[Event]]] = [
    (waiting, [Tick(), Committed(at(9)), Welcomed(1, at(5), at(5)), Disconnected(1), Acked(1, at(5))]),
    (Subscription, [Committed(at(9)), Scanned(1, at(5), "e", 9), Snapped(1, at(5), at(5)), Acked(1, at(5))]),
    (snapping, [Committed(at(9)), Scanned(1, at(5), "e", 9), Welcomed(1, at(5), at(5))]),
    (streaming, [Scanned(1, at(5), "e", 9), Snapped(1, at(5), at(5)), Welcomed(1, at(5), at(5))]),
]


@pytest.mark.parametrize(("begin", "events"), NOTHING)
def test_what_means_nothing_in_a_state_changes_nothing(begin: Callable[[], Subscription], events: list[Event]) -> None:
    """[D3]"""
    for event in events:
        subscription = begin()
        before = subscription.sender
        assert subscription.apply(event) == ()
        assert subscription.sender == before


def test_a_shutdown_can_wait_for_what_is_in_flight() -> None:
    """[D1]"""
    subscription = streaming(5, 6)
    assert not core.is_caught_up(subscription.sender)
    subscription.scanned(6, after=5, through=6)
    assert not core.is_caught_up(subscription.sender)
    subscription.apply(Acked(1, at(6)))
    assert core.is_caught_up(subscription.sender)
    assert not core.is_caught_up(waiting().sender)


def test_a_dial_begins_with_a_deadline() -> None:
    """[D9]"""
    assert Subscription().sender.state == Dialling(0, core.DIAL_S)
    assert over().sender.state == Over("unsubscribed")
