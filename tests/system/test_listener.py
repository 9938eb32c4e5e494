"""Who may speak to a subscriber, and what becomes of what is said. [D21] [D22] [D23] [D24] [D25] [D28]"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.system.played_launcher import (
    EPOCH,
    SOURCE,
    Played,
    at,
    attached,
    call,
    enact,
    encode,
    entry,
    event,
    eventually,
    greeting,
    register,
    sequence_of,
    snapshot,
    subscribed,
    taken,
)

from relaunch.errors import BadSpec, ListenFailed
from relaunch.event import Event
from relaunch.subscriber import listener
from relaunch.subscriber.subscription import Subscription
from relaunch.subscription import SubscriptionSpec
from relaunch.transport.address import Address
from relaunch.transport.stream import Kind

TRANSPORTS = ["tcp", "quic"]
Scene = Callable[[Subscription, SubscriptionSpec], Awaitable[None]]


def run(scene: Scene, since: int | None = 0, **asked: Any) -> None:
    """Play a scene with a subscription of its own."""

    async def play() -> None:
        async with subscribed(since, **asked) as (subscription, spec):
            await scene(subscription, spec)

    enact(play)


def ids(events: list[Event]) -> list[str]:
    return [one.id for one in events]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_events_are_handed_on_in_order_and_acknowledged_once_the_next_is_taken(transport: Kind) -> None:
    """[D3] [D24]"""

    async def scene(subscription: Subscription, spec: SubscriptionSpec) -> None:
        assert not subscription.is_well("host")
        played = await attached(spec)
        assert subscription.is_well("host")
        played.deliver(entry(1), entry(2))
        first = await taken(subscription)
        assert (first.id, first.kind, first.label, first.source) == (f"{EPOCH}/1", "job.exited", "o1", SOURCE)
        assert first.to_wire() == event(1)
        played.beat(2)
        assert sequence_of(await played.reply()) == 0, "in hand, and not handled"
        assert (await taken(subscription)).sequence == 2
        await played.acked(1)
        await subscription.ack()
        await played.acked(2)

    run(scene, transport=transport)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("wrong", ["secret", "fingerprint", "subscription", "source", "nonce", "proof"])
def test_whoever_proves_anything_else_is_refused(transport: Kind, wrong: str) -> None:
    """[D22] Another secret, certificate, subscription, source or nonce, and what is no proof at all."""

    async def scene(subscription: Subscription, spec: SubscriptionSpec) -> None:
        played = await call(spec)
        other = {
            "secret": {"secret": secrets.token_hex(32)},
            "fingerprint": {"fingerprint": secrets.token_hex(32)},
            "subscription": {"subscription": secrets.token_hex(16)},
            "source": {"source": "//other/relaunch/1000"},
            "nonce": {},
            "proof": {"proof": "\udcff"},
        }[wrong]
        nonce = None
        if wrong == "nonce":  # of a connection that is still there
            await played.open(spec.id)
            nonce = await (await call(spec)).open(spec.id)
        answer = await played.attach(spec, nonce, **other)
        assert answer["error"] == "io.relaunch.Subscriber.NotSubscribed"
        assert await played.hung_up()
        assert subscription.refused[listener.NOT_SUBSCRIBED] == 1
        assert not subscription.is_well("host")

    run(scene, transport=transport)


def test_the_secret_of_one_launcher_is_of_no_use_to_another() -> None:
    """[D22]"""

    async def scene(subscription: Subscription, spec: SubscriptionSpec) -> None:
        other = subscription.request("other")
        register(subscription, key="other", source="//other/relaunch/1000")
        assert other.id != spec.id
        assert other.secret != spec.secret
        for one, source in ((spec, "//other/relaunch/1000"), (other, SOURCE)):
            answer = await (await call(spec)).attach(one, source=source)
            assert answer["error"] == "io.relaunch.Subscriber.NotSubscribed"

    run(scene)


def test_what_was_heard_of_one_connection_is_of_no_use_on_another() -> None:
    """[D22] A proof cannot be said again, and a nonce is good once."""

    async def scene(subscription: Subscription, spec: SubscriptionSpec) -> None:
        first = await call(spec)
        said = greeting(spec, await first.open(spec.id))
        first.send("Attach", said, more=True)
        await first.reply()
        second = await call(spec)
        await second.open(spec.id)
        second.send("Attach", said, more=True)
        assert "error" in await second.reply()
        first.beat()
        await first.acked(0)

    run(scene)


def test_who_calls_before_it_is_known_where_to_begin_is_welcomed_then() -> None:
    """[D22] [D24]"""

    async def play() -> None:
        address = Address("127.0.0.1", 0)
        async with await Subscription.open(address=address, transport="tcp") as subscription:
            spec = subscription.request("host")
            played = await call(spec)
            attaching = asyncio.create_task(played.attach(spec))
            await eventually(lambda: not subscription._listener.unproved and subscription._listener.callers, "a proof")
            assert not attaching.done()
            register(subscription, since=7)
            assert sequence_of(await attaching) == 7

    enact(play)


def test_a_second_connection_takes_the_place_of_the_first_once_it_has_proved_itself() -> None:
    """[D24]"""

    async def scene(subscription: Subscription, spec: SubscriptionSpec) -> None:
        first = await attached(spec)
        first.deliver(entry(1))
        assert (await taken(subscription)).sequence == 1
        bad = await call(spec)
        assert "error" in await bad.attach(spec, secret=secrets.token_hex(32))
        first.beat()
        await first.acked(0)
        second = await attached(spec)
        assert await first.hung_up()
        second.deliver(entry(1), entry(2))
        assert (await taken(subscription)).sequence == 2
        await second.acked(1)
        assert subscription.is_well("host")

    run(scene)


def test_nothing_is_handed_on_twice_and_a_hole_ends_the_connection() -> None:
    """[D2] [D4]"""

    async def scene(subscription: Subscription, spec: SubscriptionSpec) -> None:
        played = await attached(spec)
        played.deliver(entry(1), entry(2), entry(1), entry(3))
        played.deliver(entry(3), entry(5, previous=4))
        assert await played.hung_up()
        played = await call(spec)
        assert sequence_of(await played.attach(spec)) == 0, "nothing has been acknowledged yet"
        played.deliver(entry(1), entry(2), entry(3), entry(4))
        assert [(await taken(subscription)).sequence for _ in range(4)] == [1, 2, 3, 4]
        assert subscription.refused["a hole in the stream"] == 1

    run(scene)


def test_gap_and_reset_are_told_whatever_the_kinds() -> None:
    """[D5] [D6] [D28]"""

    async def scene(subscription: Subscription, spec: SubscriptionSpec) -> None:
        played = await attached(spec)
        gap = {"kind": "gap", "at": at(9), "previous": 0, "first": 3}
        played.deliver(gap, {"kind": "reset", "at": at(0, "e2")}, entry(1, epoch="e2"))
        told = [await taken(subscription) for _ in range(3)]
        assert [one.kind for one in told] == ["stream.gap", "stream.reset", "job.exited"]
        assert told[0].data == {"label": None, "first": 3, "last": 9}
        assert ids(told) == [f"{EPOCH}/9/gap", "e2/0/reset", "e2/1"]
        assert [Event.from_wire(one.to_wire()).id for one in told] == ids(told)
        await played.acked(0)

    run(scene)


@pytest.mark.parametrize("kinds", [(), ("all",)])
def test_a_snapshot_is_told_where_it_was_asked_for_and_counts_as_handled_where_not(kinds: tuple[str, ...]) -> None:
    """[D7] [D28]"""

    async def scene(subscription: Subscription, spec: SubscriptionSpec) -> None:
        played = await call(spec)
        assert sequence_of(await played.attach(spec)) is None
        played.deliver(snapshot(40, [{"label": "o1"}]))
        if kinds:
            told = await taken(subscription)
            assert (told.kind, told.id, told.data["jobs"]) == (
                "stream.snapshot",
                f"{EPOCH}/40/snapshot",
                [{"label": "o1"}],
            )
            await subscription.ack()
        await played.acked(40)
        played.deliver(entry(41))
        assert (await taken(subscription)).sequence == 41

    run(scene, since=None, kinds=kinds)


def test_a_snapshot_that_is_not_told_waits_for_its_turn_all_the_same() -> None:
    """[D3] What came before it is acknowledged first, when it has been handled."""

    async def scene(subscription: Subscription, spec: SubscriptionSpec) -> None:
        played = await attached(spec)
        played.deliver(entry(1), snapshot(5), entry(6))
        assert (await taken(subscription)).sequence == 1
        played.beat()
        assert sequence_of(await played.reply()) is None
        assert (await taken(subscription)).sequence == 6
        await played.acked(5)

    run(scene)


@pytest.mark.parametrize(
    "said",
    [
        {"source": "//other/relaunch/1000"},
        {"id": f"{EPOCH}/2"},
        {"id": f"{EPOCH}/1/gap"},
        {"id": 1},
        {"type": "io.relaunch.job.started"},
        {"type": "org.example.other"},
        {"type": None},
        {"subject": "p1"},
        {"subject": 1},
        {"time": "yesterday"},
        {"time": None},
        {"data": "no object"},
        {"data": None},
    ],
)
def test_an_event_that_is_not_what_was_asked_for_ends_the_connection(said: dict[str, Any]) -> None:
    """[D25] Of another source, place, kind or label, or no event at all."""

    async def scene(subscription: Subscription, spec: SubscriptionSpec) -> None:
        played = await attached(spec)
        played.deliver(entry(1, **said))
        assert await played.hung_up()
        assert dict(subscription.refused) == {"an item that is not what it says": 1}
        played = await attached(spec)
        played.deliver(entry(1, redelivered=True))
        told = await taken(subscription)
        assert told.label == "o1"
        assert not told.redelivered, "that is for the subscriber to say"

    run(scene, patterns=("o*",))


@pytest.mark.parametrize(
    "data",
    [
        b"\0",
        b"[]\0",
        b"\xff\0",
        b"{}\0",
        b"[" * 100_000 + b"\0",
        encode("Deliver", {"items": []}),
        encode("Deliver", {"items": {}}, oneway=True),
        encode("Deliver", {"items": [{"kind": "entry"}]}, oneway=True),
        encode("Beat", {"sequence": -1}, oneway=True),
        encode("Beat", {"sequence": 1, "bookmark": 1}, oneway=True),
        encode("Open", {"subscription": "x"}),
        encode("Attach", {}, more=True),
        encode("Nothing", oneway=True),
        b'{"method":"org.varlink.service.GetInfo"}\0',
    ],
)
@pytest.mark.parametrize("proved", [True, False])
def test_what_the_interface_does_not_allow_ends_the_connection(data: bytes, proved: bool) -> None:
    """[D23] Before the proof and after it; it is counted, and another connection is none the worse."""

    async def scene(subscription: Subscription, spec: SubscriptionSpec) -> None:
        played = await attached(spec) if proved else await call(spec)
        if data == encode("Open", {"subscription": "x"}) and not proved:
            played.send("Open", {"subscription": "x"})
        played.stream.send(data)
        assert await played.hung_up()
        assert dict(subscription.refused) == {listener.MALFORMED: 1}
        played = await attached(spec)
        played.deliver(entry(1))
        assert (await taken(subscription)).sequence == 1

    run(scene)


@pytest.mark.parametrize("more", [b"x", encode("Beat", {"sequence": 1}, oneway=True)])
def test_who_speaks_before_it_is_welcomed_is_hung_up_on(more: bytes) -> None:
    """[D23]"""

    async def scene(subscription: Subscription, spec: SubscriptionSpec) -> None:
        played = await call(spec)
        said = greeting(spec, await played.open(spec.id))
        played.stream.send(encode("Attach", said, more=True) + more)
        assert await played.hung_up()
        assert subscription.refused[listener.MALFORMED] == 1

    run(scene)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_large_message_is_taken_of_those_only_who_have_proved_themselves(transport: Kind) -> None:
    """[D21]"""

    async def scene(subscription: Subscription, spec: SubscriptionSpec) -> None:
        stranger = await call(spec)
        stranger.stream.send(b" " * (listener.UNPROVED_BYTES_MAX + 1))
        assert await stranger.hung_up()
        played = await attached(spec)
        played.deliver(entry(1, data={"label": "o1", "output": "x" * 2_000_000}))
        assert len((await taken(subscription)).data["output"]) == 2_000_000

    run(scene, transport=transport)


def test_three_hundred_who_prove_nothing_are_no_hindrance(monkeypatch: pytest.MonkeyPatch) -> None:
    """[D21] Who has waited longest makes room, and nobody waits for long."""
    monkeypatch.setattr(listener, "PROVE_S", 1.0)

    async def scene(subscription: Subscription, spec: SubscriptionSpec) -> None:
        played = await attached(spec)
        strangers: list[Played] = []
        for sequence in range(1, 301):
            strangers.append(await call(spec))
            if sequence % 10 == 0:
                played.deliver(entry(sequence, previous=sequence - 10))
                assert (await taken(subscription)).sequence == sequence
        await eventually(lambda: sum(one.over for one in strangers) == 300, "all are gone")
        crowded, slow = subscription.refused[listener.CROWDED], subscription.refused[listener.SLOW]
        assert crowded + slow == 300
        assert crowded <= 300 - listener.UNPROVED_MAX
        assert not played.over
        assert len(subscription._listener.callers) == 1

    run(scene)


def test_a_launcher_that_floods_is_read_no_further_and_starves_nobody() -> None:
    """[D8] [D27] What waits is bounded, each source has its turn, and nobody is accused of what is left unread."""

    async def scene(subscription: Subscription, spec: SubscriptionSpec) -> None:
        other = subscription.request("other")
        register(subscription, key="other", source="//other/relaunch/1000")
        flood, calm = await attached(spec), await attached(other, source="//other/relaunch/1000")
        size_bytes = 0
        for sequence in range(1, 401):
            flood.deliver(entry(sequence, data={"label": None, "output": "x" * 100_000}))
            size_bytes += 100_000
            await asyncio.sleep(0)
        handover = subscription._handover
        await eventually(lambda: any(lane.paused for lane in handover.lanes), "a pause")
        calm.deliver(*(entry(n, source="//other/relaunch/1000") for n in range(1, 21)))
        await eventually(lambda: len(handover.lanes[1].waiting) == 20, "the calm one")
        assert handover.size_bytes < 10_000_000 < size_bytes
        for _ in range(3):
            assert sequence_of(await flood.reply()) == 0, "it has its answer, though its heartbeats are not read"
        told = [await taken(subscription) for _ in range(40)]
        assert [one.source for one in told].count(SOURCE) == 20
        rest = [await taken(subscription) for _ in range(380)]
        sequences = [one.sequence for one in told + rest if one.source == SOURCE]
        assert sequences == list(range(1, 401))
        assert subscription.is_well("host"), "and the other is silent from then on"
        assert handover.size_bytes == 0
        assert not any(lane.paused for lane in handover.lanes)

    run(scene, kinds=("job.exited",), suspect_after_s=1.0)


def test_more_than_the_limit_ends_the_connection_and_nothing_is_lost() -> None:
    """[D8]"""

    async def scene(subscription: Subscription, spec: SubscriptionSpec) -> None:
        played = await attached(spec)
        played.deliver(*(entry(n) for n in range(1, 600)))
        assert await played.hung_up()
        assert subscription.refused["more than was asked for"] == 1
        assert [(await taken(subscription)).sequence for _ in range(512)] == list(range(1, 513))

    run(scene)


def test_an_application_that_gives_up_waiting_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """[D24] Not even in the turn in which the event comes."""

    async def scene(subscription: Subscription, spec: SubscriptionSpec) -> None:
        played = await attached(spec)
        waiting = asyncio.create_task(anext(subscription))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task"):
            await anext(subscription)
        wake = subscription._handover.wake
        with monkeypatch.context() as patch:
            patch.setattr(subscription._handover, "wake", lambda: (wake(), waiting.cancel()))
            played.deliver(entry(1))
            await asyncio.wait({waiting})
        assert waiting.cancelled()
        assert (await taken(subscription)).sequence == 1

    run(scene)


def test_an_application_that_waits_is_told_of_the_end() -> None:
    """[D24]"""

    async def scene(subscription: Subscription, spec: SubscriptionSpec) -> None:
        played = await attached(spec)
        waiting = asyncio.create_task(anext(subscription))
        await asyncio.sleep(0)
        await subscription.close()
        with pytest.raises(StopAsyncIteration):
            await waiting
        with pytest.raises(StopAsyncIteration):
            await anext(subscription)
        assert await played.hung_up()

    run(scene)


def test_what_cannot_be_is_refused_before_anything_begins() -> None:
    """[D28]"""

    async def scene(subscription: Subscription, spec: SubscriptionSpec) -> None:
        assert subscription.request("host") == spec
        with pytest.raises(ListenFailed):
            await Subscription.open(address=subscription.address, transport="tcp")
        for seconds in (0.0, 0.1, 1e9, float("nan")):
            with pytest.raises(BadSpec):
                await Subscription.open(address=Address("", 0), suspect_after_s=seconds)

    run(scene)
