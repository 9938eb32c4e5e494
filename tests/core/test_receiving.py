"""A subscriber's side of one source."""

from relaunch.core import receiving as core
from relaunch.core.delivery import Bookmark, Cursor, Entry, Gap, Item, Reset, Snapshot
from relaunch.core.receiving import (
    Ack,
    Arrived,
    Beaten,
    Blank,
    Connected,
    Disconnected,
    Following,
    Handled,
    HandOn,
    HangUp,
    Keep,
    Welcome,
)


def at(sequence: int, epoch: str = "e") -> Cursor:
    return Cursor(epoch, sequence)


def entry(sequence: int, previous: int | None = None, epoch: str = "e") -> Entry:
    return Entry(at(sequence, epoch), sequence - 1 if previous is None else previous)


class Source:
    """One source, driven by hand; connected, unless told otherwise."""

    def __init__(self, cursor: Cursor | None, *, durable: bool = False, in_doubt: bool = False, limit: int = 8) -> None:
        self.receiver = core.begin(durable=durable, limit=limit, cursor=cursor, in_doubt=in_doubt)
        self.links = 0
        self.effects: tuple[core.Effect, ...] = ()

    def apply(self, event: core.Event) -> tuple[core.Effect, ...]:
        self.receiver, self.effects = core.transition(self.receiver, event)
        return self.effects

    def connect(self) -> "Source":
        self.links += 1
        self.apply(Connected(self.links))
        return self

    def arrive(self, *items: Item) -> tuple[core.Effect, ...]:
        return tuple(effect for item in items for effect in self.apply(Arrived(self.links, item)))

    @property
    def following(self) -> Following:
        assert isinstance(self.receiver.state, Following)
        return self.receiver.state


def following(cursor: Cursor | None = None, *, durable: bool = False, in_doubt: bool = False, limit: int = 8) -> Source:
    return Source(cursor or at(5), durable=durable, in_doubt=in_doubt, limit=limit).connect()


def test_who_knows_nothing_asks_for_a_snapshot_and_takes_nothing_else() -> None:
    """[D7]"""
    source = Source(None).connect()
    assert source.effects == (Welcome(1, None),)
    assert source.apply(Handled(entry(1))) == ()
    assert source.apply(Beaten(1, None)) == (Ack(1, None),)
    assert source.arrive(entry(1)) == (HangUp(1, "a stream that begins in the middle"),)
    source.connect()
    assert source.arrive(Snapshot(at(7)), entry(8)) == (HandOn(Snapshot(at(7))), HandOn(entry(8)))


def test_a_snapshot_that_waits_is_not_asked_for_again_and_not_acknowledged() -> None:
    """[D3] [D7]"""
    source = Source(None).connect()
    source.arrive(Snapshot(at(7)))
    assert source.apply(Beaten(1, None)) == (Ack(1, None),)
    assert source.connect().effects[-1] == Welcome(2, at(7))
    assert source.arrive(Snapshot(at(7))) == ()
    assert source.apply(Handled(Snapshot(at(7)))) == (Ack(2, at(7)),)


def test_what_was_handled_is_acknowledged_and_nothing_before() -> None:
    """[D3] Where it is to last, it is kept first."""
    source = following(durable=True)
    assert source.arrive(entry(6), entry(7)) == (HandOn(entry(6)), HandOn(entry(7)))
    assert source.apply(Beaten(1, None)) == (Ack(1, at(5)),)
    assert source.apply(Handled(entry(6))) == (Keep(at(6)), Ack(1, at(6)))
    assert source.apply(Handled(entry(6))) == ()
    assert following().arrive(entry(6)) == (HandOn(entry(6)),)


def test_an_item_that_was_handled_takes_those_before_it_along() -> None:
    """[D3]"""
    source = following()
    source.arrive(entry(6), entry(7), entry(8))
    assert source.apply(Handled(entry(7))) == (Ack(1, at(7)),)
    assert source.following.pending == (entry(8),)


def test_what_was_handled_while_nobody_is_connected_is_said_in_the_next_welcome() -> None:
    """[D3]"""
    source = following()
    source.arrive(entry(6))
    source.apply(Disconnected(1))
    assert source.apply(Handled(entry(6))) == ()
    assert source.connect().effects == (Welcome(2, at(6)),)


def test_duplicates_are_not_handed_on() -> None:
    """[D4] Neither within one connection nor from the next."""
    source = following()
    assert len(source.arrive(entry(6), entry(6), entry(7))) == 2
    assert source.connect().effects == (HangUp(1, "a later connection is there"), Welcome(2, at(5)))
    assert source.arrive(entry(6), entry(7), Gap(at(7), 5, 6)) == ()
    assert source.arrive(entry(8)) == (HandOn(entry(8)),)


def test_the_first_item_after_a_kill_says_that_it_may_have_been_handled() -> None:
    """[D4] That one, and no other."""
    source = following(durable=True, in_doubt=True)
    assert source.arrive(entry(6), entry(7)) == (HandOn(entry(6), again=True), HandOn(entry(7)))
    source = following(durable=True, in_doubt=True)
    source.apply(Beaten(1, Bookmark(at(8), 5)))
    assert source.arrive(entry(9)) == (HandOn(entry(9)),)


def test_a_gap_before_it_leaves_the_doubt() -> None:
    """[D4] [D5]"""
    source = following(durable=True, in_doubt=True)
    gap = Gap(at(7), 5, 6)
    assert source.arrive(gap, entry(8)) == (HandOn(gap, again=True), HandOn(entry(8), again=True))


def test_a_hole_ends_the_connection() -> None:
    """[D2]"""
    for item in (entry(8), Gap(at(9), 6, 7), entry(6, epoch="f")):
        assert following().arrive(item) == (HangUp(1, "a hole in the stream"),)
    for bookmark in (Bookmark(at(9), 6), Bookmark(at(9, "f"), 5)):
        assert following().apply(Beaten(1, bookmark)) == (HangUp(1, "a hole in the stream"),)


def test_what_does_not_match_is_no_hole() -> None:
    """[D2]"""
    assert following().arrive(entry(9, previous=5)) == (HandOn(entry(9, previous=5)),)


def test_a_bookmark_moves_the_place_where_nothing_waits() -> None:
    """[D5] So that no gap is told where nothing was missed."""
    source = following(durable=True)
    assert source.apply(Beaten(1, Bookmark(at(9), 5))) == (Keep(at(9)), Ack(1, at(9)))
    assert source.apply(Beaten(1, Bookmark(at(9), 5))) == (Ack(1, at(9)),)
    source.arrive(entry(10))
    assert source.apply(Beaten(1, Bookmark(at(12), 10))) == (Ack(1, at(9)),)
    assert source.apply(Handled(entry(10))) == (Keep(at(12)), Ack(1, at(12)))


def test_a_gap_is_handed_on_without_what_was_received() -> None:
    """[D5]"""
    source = following()
    source.arrive(entry(6), entry(7))
    source.connect()
    assert source.arrive(Gap(at(12), 5, 6)) == (HandOn(Gap(at(12), 5, 8)),)


def test_a_reset_is_handed_on_once_and_the_new_journal_followed() -> None:
    """[D6] After what is left of the old one."""
    source = following()
    source.arrive(entry(6))
    reset = Reset(at(0, "f"))
    first = entry(1, epoch="f")
    assert source.arrive(reset, first, reset, first) == (HandOn(reset), HandOn(first))
    assert source.apply(Handled(entry(6))) == (Ack(1, at(6)),)
    assert source.apply(Handled(reset)) == (Ack(1, at(0, "f")),)


def test_a_snapshot_goes_back_where_the_journal_has_lost_its_end() -> None:
    """[D7] And what was handled before it is not said to be of this journal."""
    source = following()
    source.arrive(entry(6), entry(7))
    source.connect()
    assert source.arrive(Snapshot(at(4)), entry(5)) == (HandOn(Snapshot(at(4))), HandOn(entry(5)))
    assert source.apply(Handled(entry(7))) == ()
    assert source.apply(Handled(Snapshot(at(4)))) == (Ack(2, at(4)),)


def test_no_more_waits_for_the_application_than_the_limit() -> None:
    """[D8]"""
    for item in (entry(8), Snapshot(at(20))):
        source = following(limit=2)
        source.arrive(entry(6), entry(7))
        assert source.arrive(item) == (HangUp(1, "more than was asked for"),)
        assert len(source.following.pending) == 2


def test_the_last_connection_counts() -> None:
    """[D4]"""
    source = following().connect()
    before = source.receiver
    assert source.apply(Arrived(1, entry(6))) == ()
    assert source.apply(Beaten(1, None)) == ()
    assert source.apply(Disconnected(1)) == ()
    assert source.receiver == before
    assert source.apply(Connected(1)) == (HangUp(1, "a later connection is there"),)


def test_a_source_begins_blank_or_where_it_is_told() -> None:
    """[D7]"""
    assert Source(None).receiver.state == Blank()
    assert Source(at(5)).following.position == at(5)
