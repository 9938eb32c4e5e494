"""What a subscriber believes of its launchers, by a real clock. [D10] [D11] [D12] [D27]"""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from tests.system.played_launcher import (
    SOURCE,
    Message,
    Played,
    attached,
    enact,
    entry,
    eventually,
    register,
    subscribed,
    taken,
)
from tests.system.test_subscriber_store import subscriber

from relaunch.event import Event
from relaunch.subscriber.subscription import Subscription
from relaunch.subscription import SubscriptionSpec

SUSPECT_AFTER_S = 0.5
NAMES = ("a", "b", "c")


def source(name: str) -> str:
    return f"//{name}/relaunch/1000"


def kinds(told: Sequence[Event]) -> list[str]:
    return [one.kind for one in told]


class Launchers:
    """Launchers in a process of their own, which can be stopped."""

    def __init__(self, specs: Sequence[tuple[str, SubscriptionSpec]]) -> None:
        command = [sys.executable, "-m", "tests.system.beating_launcher"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdin is not None
        for name, spec in specs:
            self.process.stdin.write(json.dumps({"source": name, "spec": spec.to_wire()}) + "\n")
        self.process.stdin.close()

    async def welcomed(self) -> "Launchers":
        assert self.process.stdout is not None
        assert await asyncio.to_thread(self.process.stdout.readline) == "welcomed\n"
        return self

    def send(self, number: int) -> "Launchers":
        self.process.send_signal(number)
        return self

    def end(self) -> None:
        with self.process:
            self.process.kill()


async def beat_for(seconds: float, *launchers: Played) -> None:
    """Let launchers beat, as often as they are to."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for launcher in launchers:
            launcher.beat()
        await asyncio.sleep(SUSPECT_AFTER_S / 8)


def nothing_waits(subscription: Subscription) -> bool:
    return not subscription._handover.ready


async def settled(subscription: Subscription) -> None:
    """Wait until all are up, and forget what was told until then: a process takes its time to start."""
    await eventually(lambda: all(map(subscription.is_well, subscription.ids())), "all up")
    while not nothing_waits(subscription):
        await taken(subscription)


def test_launchers_that_fall_silent_together_are_told_of_together() -> None:
    """[D10] [D11] [D27] Suspected, lost, back: each in an event of its own, and not for certain before it is back."""

    async def play() -> None:
        async with subscribed(suspect_after_s=2 * SUSPECT_AFTER_S) as (subscription, spec):
            specs = [(name, subscription.request(name)) for name in NAMES]
            launchers = Launchers([(source(name), one) for name, one in specs])
            other = await attached(spec)
            try:
                for name, _ in specs:
                    register(subscription, key=name, source=source(name))
                beating = asyncio.create_task(beat_for(30, other))
                await launchers.welcomed()
                await settled(subscription)
                silent_since = time.monotonic()
                launchers.send(signal.SIGSTOP)
                suspected = [await taken(subscription) for _ in NAMES]
                assert SUSPECT_AFTER_S < time.monotonic() - silent_since < 2 * SUSPECT_AFTER_S + 2
                assert kinds(suspected) == ["host.suspect"] * 3
                assert {one.source for one in suspected} == {source(name) for name in NAMES}
                assert [(one.data["number"], one.data["together"]) for one in suspected] == [(1, 3), (2, 3), (3, 3)]
                assert len({one.data["group"] for one in suspected}) == 1
                assert len({one.id for one in suspected}) == 3
                assert all(one.data["silent_s"] >= 1.5 * SUSPECT_AFTER_S for one in suspected)
                assert not any(map(subscription.is_well, NAMES))
                lost = [await taken(subscription) for _ in NAMES]
                assert kinds(lost) == ["host.lost"] * 3
                assert not any(one.data["certain"] for one in suspected + lost)
                launchers.send(signal.SIGCONT)
                back = [await taken(subscription) for _ in NAMES]
                assert kinds(back) == ["host.back"] * 3
                assert all(one.data["certain"] and one.data["boot_id"] == "b1" for one in back)
                assert all(map(subscription.is_well, subscription.ids()))
                beating.cancel()
            finally:
                launchers.end()

    enact(play)


def test_a_launcher_that_registers_and_never_calls_is_noticed() -> None:
    """[D27]"""

    async def play() -> None:
        async with subscribed(suspect_after_s=SUSPECT_AFTER_S) as (subscription, _):
            told = [await taken(subscription) for _ in range(2)]
            assert kinds(told) == ["host.suspect", "host.lost"]
            assert told[0].source == SOURCE
            register(subscription)
            assert not subscription.is_well("host")
            assert nothing_waits(subscription)

    enact(play)


def test_a_farewell_is_for_certain_and_comes_after_what_was_sent_before_it() -> None:
    """[D11] Silence after it is no news; the next run is told by the journal and not by the subscriber."""

    async def play() -> None:
        async with subscribed(suspect_after_s=SUSPECT_AFTER_S) as (subscription, spec):
            played = await attached(spec)
            played.deliver(entry(1), entry(2))
            played.farewell()
            told = [await taken(subscription) for _ in range(3)]
            assert kinds(told) == ["job.exited", "job.exited", "launcher.lost"]
            assert told[2].data["certain"]
            assert (told[2].data["run"], told[2].data["together"], told[2].label) == (1, 1, None)
            assert told[2].id.endswith("/watch")
            assert Event.from_wire(told[2].to_wire()).data == told[2].data
            assert not subscription.is_well("host")
            await asyncio.sleep(SUSPECT_AFTER_S * 2)
            assert nothing_waits(subscription)
            again = await attached(spec, run=2)
            again.deliver(entry(3, type="io.relaunch.launcher.restarted", subject=None))
            assert kinds([await taken(subscription)]) == ["launcher.restarted"]
            await beat_for(SUSPECT_AFTER_S * 2, again)
            assert nothing_waits(subscription)

    enact(play)


def test_another_boot_is_told_for_certain() -> None:
    """[D11]"""

    async def play() -> None:
        async with subscribed(suspect_after_s=SUSPECT_AFTER_S) as (subscription, spec):
            await attached(spec)
            await attached(spec, run=2, boot_id="b2")
            told = await taken(subscription)
            assert (told.kind, told.data["certain"], told.data["boot_id"]) == ("host.rebooted", True, "b1")

    enact(play)


def test_what_is_believed_is_told_where_its_kind_was_asked_for() -> None:
    """[D27]"""

    async def play() -> None:
        asked = ("host.lost", "job.exited")
        async with subscribed(suspect_after_s=SUSPECT_AFTER_S, kinds=asked, patterns=("o*",)) as (subscription, _):
            assert (await taken(subscription)).kind == "host.lost"

    enact(play)


def test_a_subscriber_that_was_stopped_accuses_nobody() -> None:
    """[D12] Nor does it when the network was busy with something else meanwhile."""
    with subscriber(None, SUSPECT_AFTER_S) as process:
        spec = process.spec()

        async def play() -> None:
            played = await attached(spec)
            beating = asyncio.create_task(beat_for(60, played))
            for stopped_s in (SUSPECT_AFTER_S * 2, SUSPECT_AFTER_S * 5):
                process.process.send_signal(signal.SIGSTOP)
                await asyncio.sleep(stopped_s)
                process.process.send_signal(signal.SIGCONT)
                await asyncio.sleep(SUSPECT_AFTER_S * 2)
            played.deliver(entry(1))
            said: Message = await process.next()
            assert said["kind"] == "job.exited"
            beating.cancel()

        enact(play)


def test_an_application_that_blocks_the_loop_accuses_nobody() -> None:
    """[D12]"""

    async def play() -> None:
        async with subscribed(suspect_after_s=SUSPECT_AFTER_S) as (subscription, spec):
            launchers = Launchers([(SOURCE, spec)])
            try:
                await launchers.welcomed()
                await settled(subscription)
                for _ in range(3):
                    time.sleep(SUSPECT_AFTER_S * 3)  # noqa: ASYNC251 - that is the point
                    await asyncio.sleep(SUSPECT_AFTER_S)
                assert nothing_waits(subscription)
                assert all(map(subscription.is_well, subscription.ids()))
            finally:
                launchers.end()

    enact(play)


def test_what_nobody_takes_is_bounded() -> None:
    """[D27] The newest of what was believed is kept."""

    async def play() -> None:
        async with subscribed(suspect_after_s=3.0) as (subscription, spec):
            played = await attached(spec)
            played.deliver(entry(1))
            for run in range(2, 200):
                register(subscription, run=run, boot_id=f"b{run}")
            lane = subscription._sources["host"].lane
            told = [await taken(subscription) for _ in range(64)]
            assert told[-1].data["boot_id"] == "b198"
            assert len(lane.waiting) <= 1

    enact(play)
