"""What a launcher sends to its subscribers: over real connections, across deaths, and to subscribers that do wrong."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.system.evidence import kill, kill_launcher, rss_bytes
from tests.system.launcher_host import Host, wait_for
from tests.system.peer import call, spec_of
from tests.system.played_subscriber import Caller, Message, ask, subscriber, subscriptions

from relaunch.core.delivery_wire import write_cursor
from relaunch.core.sender import Terms
from relaunch.launcher import journal as journal_module
from relaunch.launcher.journal import Journal, NewEvent, Write
from relaunch.launcher.outgoing import Speaker
from relaunch.launcher.recent import Found, Recent
from relaunch.launcher.snapshot import Snapshots
from relaunch.launcher.subscriptions import UNACKED_BYTES_MAX, Subscriptions
from relaunch.launcher.turns import Turns
from relaunch.subscription import SubscriptionSpec


def play(scenario: Coroutine[Any, Any, None]) -> None:
    async def run() -> None:
        async with asyncio.timeout(55):
            await scenario

    asyncio.run(run())


async def _submit(host: Host, label: str, *argv: str) -> Message:
    job: Message = (await ask(host, "Submit", {"spec": spec_of(label, *argv)}))["job"]
    return job


async def _burst(host: Host, count: int, label: str = "b") -> None:
    """Have so many jobs begin and end."""
    await asyncio.gather(*(_submit(host, f"{label}{number}", "true") for number in range(count)))
    await ask(host, "Wait", {"patterns": [f"{label}*"]})


def _follows(items: list[Message], position: int) -> None:
    """Whether each item goes on where the one before it stood."""
    for item in items:
        if item["kind"] == "entry":
            assert item["previous"] <= position < item["at"]["sequence"], item
        position = item["at"]["sequence"]


def test_a_death_is_told(host: Host) -> None:
    """[D1] [D2] [D7] A snapshot of what is, then each event, as the journal has it."""

    async def scenario() -> None:
        async with subscriber() as one:
            job = await _submit(host, "o1")
            answer = await one.subscribe(host)
            assert answer["cursor"] is None
            await one.until(lambda: one.items, "the snapshot comes")
            (snapshot,) = one.items
            assert [(known["label"], known["pid"], known["state"]) for known in snapshot["jobs"]] == [
                ("o1", job["pid"], "running")
            ]
            attach = one.caller.attach
            assert attach is not None
            assert {name: attach[name] for name in ("source", "boot_id", "run")} == {
                name: answer[name] for name in ("source", "boot_id", "run")
            }
            os.kill(job["pid"], signal.SIGKILL)
            await one.until(lambda: one.told("job.exited"), "the death is told")
            (event,) = one.told("job.exited")
            assert (event["subject"], event["data"]["signal"]) == ("o1", "KILL")
            (journaled,) = [one for one in host.events() if one["type"] == "io.relaunch.job.exited"]
            assert event == journaled
            _follows(one.items, 0)

    play(scenario())


def test_another_certificate_is_told_nothing(host: Host) -> None:
    """[D16] Not one byte; the reason is listed, and in the log once."""

    async def scenario() -> None:
        async with subscriber() as one:
            await one.subscribe(host, fingerprint="0" * 64)

            def listed() -> Message:
                (found,) = call(host.socket, "Subscriptions")["subscriptions"]
                return dict(found)

            await asyncio.to_thread(wait_for, lambda: listed()["error"], what="the failure is listed")
            found = listed()
            assert found["state"] == "connecting"
            assert "certificate" in found["error"]
            assert found["unreachable_s"] >= 0
            assert sum(caller.received_bytes for caller in one.callers) == 0
            await asyncio.to_thread(wait_for, lambda: listed()["unreachable_s"] > 1.0, what="it is tried again")
            assert (host.state / "launcher.log").read_text().count("certificate") == 1

    play(scenario())


@pytest.mark.parametrize("kind", ["tcp", "quic"])
def test_what_was_not_acknowledged_comes_again(host: Host, kind: Any) -> None:
    """[D3] After a connection is cut, from the event after the last that was handled, without a hole."""

    async def scenario() -> None:
        async with subscriber(kind) as one:
            await one.subscribe(host, since=0)
            await one.until(lambda: one.sequences, "the first events come")
            handled = one.cursor
            assert handled is not None
            one.acks = False
            await _burst(host, 5)
            await one.until(lambda: len(one.told("job.exited")) == 5, "all is told")
            one.acks = True
            first = len(one.items)
            one.caller.stream.close()
            await one.until(lambda: len(one.items) > first, "it comes again")
            again = one.caller.items
            assert again[0]["at"]["sequence"] == handled["sequence"] + 1
            _follows(again, handled["sequence"])
            await one.until(
                lambda: one.sequences[-1] == call(host.socket, "GetStatus")["status"]["journal"]["last_sequence"]
            )

    play(scenario())


def test_each_gets_what_it_asked_for(host: Host) -> None:
    """[D1] Two subscribers, two filters; what does not match is said with bookmarks only."""

    async def scenario() -> None:
        async with subscriber() as everything, subscriber() as some:
            await everything.subscribe(host)
            await some.subscribe(host, patterns=["o*"], kinds=["job.*"])
            await everything.until(lambda: everything.items, "its snapshot comes")
            await some.until(lambda: some.items, "its snapshot comes")
            await _burst(host, 3, "o")
            await _burst(host, 3, "z/")
            await everything.until(lambda: len(everything.told("job.exited")) == 6, "all of it")
            await some.until(lambda: len(some.told("job.exited")) == 3, "some of it")
            await _burst(host, 1, "x")
            beats = some.caller.beats
            await some.until(lambda: some.caller.beats >= beats + 2, "a heartbeat")
            subjects = {item["event"]["subject"] for item in some.items if item["kind"] == "entry"}
            assert subjects == {"o0", "o1", "o2"}
            _follows(everything.items, 0)

    play(scenario())


def test_the_window_bounds_what_is_on_its_way(host: Host) -> None:
    """[D8] [D18] Who never acknowledges gets a window and no more; others get all."""

    async def scenario() -> None:
        async with subscriber() as stuck, subscriber() as sound:
            stuck.acks = False
            stuck.cursor = (await stuck.subscribe(host, since=0))["cursor"]
            await sound.subscribe(host, since=0)
            await _burst(host, 150)
            await sound.until(lambda: len(sound.told("job.exited")) == 150, "all is told")
            await stuck.until(lambda: len(stuck.sequences) == Terms().window, "a window is told")
            beats = stuck.caller.beats
            await stuck.until(lambda: stuck.caller.beats >= beats + 3, "heartbeats go on")
            assert len(stuck.sequences) == Terms().window
            stuck.acks = True
            stuck.caller.ack(stuck.items[-1]["at"])
            await stuck.until(lambda: len(stuck.told("job.exited")) == 150, "the rest is told")
            assert len(stuck.callers) == 1
            assert stuck.sequences == sorted(set(stuck.sequences))

    play(scenario())


def test_large_events_are_bounded_in_bytes(host: Host) -> None:
    """[D18] What is on its way to one subscriber takes a few MiB at most, though the window would allow more."""

    async def scenario() -> None:
        async with subscriber() as stuck:
            stuck.acks = False
            stuck.cursor = (await stuck.subscribe(host, since=0))["cursor"]
            await stuck.until_attached()
            padding = "x" * 100_000
            for number in range(30):  # three events of 300 kB each
                await _submit(host, f"big{number}", "true", padding, padding, padding)
            await ask(host, "Wait", {"patterns": ["big*"]})
            beats = stuck.caller.beats
            await stuck.until(lambda: stuck.caller.beats >= beats + 3, "heartbeats go on")
            assert UNACKED_BYTES_MAX / 2 < stuck.caller.received_bytes < UNACKED_BYTES_MAX * 1.1
            stuck.acks = True
            stuck.caller.ack(stuck.items[-1]["at"])
            await stuck.until(lambda: len(stuck.told("job.exited")) == 30, "the rest is told")
            _follows(stuck.items, 0)

    play(scenario())


def _silent(_caller: Caller, _message: Message) -> None:
    pass


def _garbage(caller: Caller, _message: Message) -> None:
    caller.stream.send(b"\xff\xfe not JSON \0" * 3)


def _huge(caller: Caller, _message: Message) -> None:
    caller.stream.send(b'{"parameters":{"nonce":"' + b"0" * (8 << 20))


def _wrong_nonce(caller: Caller, _message: Message) -> None:
    caller.answer({"nonce": ["a"] * 9})


def _deep(caller: Caller, _message: Message) -> None:
    caller.stream.send(b'{"parameters":' + b"[" * 60_000 + b"\0")


def _refusing(caller: Caller, _message: Message) -> None:
    message = {"error": "io.relaunch.Subscriber.NotSubscribed", "parameters": {"message": "no\x1b[2J\nsuch " * 100}}
    caller.stream.send(json.dumps(message).encode() + b"\0")


def _ahead(caller: Caller, message: Message) -> None:
    if message["method"].endswith("Beat"):
        caller.ack({"epoch": caller.subscriber.items[0]["at"]["epoch"], "sequence": 2**62})
    else:
        caller.subscriber.do(caller, message)


def _flooding(caller: Caller, message: Message) -> None:
    caller.subscriber.do(caller, message)
    if message["method"].endswith("Attach"):
        caller.stream.send(b'{"parameters":{"cursor":null},"continues":true}\0' * 50_000)


WRONG: list[Callable[[Caller, Message], None]] = [
    _silent, _garbage, _huge, _wrong_nonce, _deep, _refusing, _ahead, _flooding,
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG, ids=lambda one: one.__name__)
def test_a_subscriber_that_does_wrong_harms_nobody(host: Host, wrong: Callable[[Caller, Message], None]) -> None:
    """[D18] [W12] Jobs start and stop as ever, others are told, and the log stays short."""

    async def scenario() -> None:
        async with subscriber() as bad, subscriber() as good:
            bad.on_message = wrong
            await good.subscribe(host)
            await bad.subscribe(host)
            await good.until(lambda: good.items, "the snapshot comes")
            await bad.until(lambda: len(bad.callers) >= (1 if wrong is _silent else 3), "it is dialled again")
            begin = time.monotonic()
            job = await _submit(host, "quick")
            os.kill(job["pid"], signal.SIGKILL)
            await good.until(lambda: good.told("job.exited"), "the other is told")
            assert time.monotonic() - begin < 8.0
            for found in await subscriptions(host):
                assert (found["error"] or "").isprintable()
                assert len(found["error"] or "") < 600
            log = (host.state / "launcher.log").read_text()
            assert len(log.splitlines()) < 12, log
            assert "Traceback" not in log
            assert rss_bytes(host.launcher_pid) < 100e6

    play(scenario())


def test_a_launchers_death_loses_nothing(host: Host) -> None:
    """[D2] [D3] [D15] Killed in the middle of a burst, again and again: every event, in order, without a hole."""

    async def scenario() -> None:
        async with subscriber() as one:
            runs = [(await one.subscribe(host, since=0))["run"]]
            await one.until_attached()
            for life in range(3):
                burst = asyncio.create_task(_burst_across(host, f"l{life}-"))
                under_way = len(one.sequences) + 20
                await one.until(lambda under_way=under_way: len(one.sequences) > under_way, "a burst is under way")  # type: ignore[misc]  # a default binds the loop's variable
                callers = len(one.callers)
                await asyncio.to_thread(kill, (await ask(host, "GetStatus"))["status"]["launcher_pid"])
                await one.until_attached(callers + 1)
                await burst
            last = (await ask(host, "GetStatus"))["status"]["journal"]["last_sequence"]
            await one.until(lambda: one.sequences[-1] == last, "all is told")
            assert sorted(set(one.sequences)) == list(range(1, last + 1))
            for caller in one.callers:
                _follows(caller.items, caller.items[0]["previous"] if caller.items else 0)
            runs += [caller.attach["run"] for caller in one.callers if caller.attach]
            assert runs == sorted(runs)
            assert len(set(runs)) == 4

    play(scenario())


async def _burst_across(host: Host, label: str) -> None:
    """Submit many jobs; the launcher may die over it."""

    async def submit(number: int) -> None:
        try:
            await _submit(host, f"{label}{number}", "true")
        except (AssertionError, OSError):
            pass  # the launcher died before it answered

    await asyncio.gather(*(submit(number) for number in range(60)))


def test_a_shutdown_tells_the_last_events(host: Host) -> None:
    """[D19] What ended with it, that it ended, and farewell; nobody is waited for who is not there."""

    async def scenario() -> None:
        async with subscriber() as one, subscriber() as gone:
            await one.subscribe(host)
            await gone.subscribe(host)
            await gone.until_attached()
            await one.until(lambda: one.items, "the snapshot comes")
            assert gone.listener is not None
            gone.listener.close()
            for number in range(5):
                await _submit(host, f"a{number}")
            await one.until(lambda: len(one.told("job.started")) == 5, "all have begun")
            begin = time.monotonic()
            await asyncio.to_thread(host.launch, "shutdown")
            await one.until(lambda: one.caller.over or one.caller.farewell, "the launcher says farewell")
            assert time.monotonic() - begin < 10.0
            assert [event["data"]["reason"] for event in one.told("job.exited")] == ["shutdown"] * 5
            assert one.told("launcher.stopped")
            assert len(one.callers) == 1

    play(scenario())


def test_a_shutdown_does_not_wait_for_ever(host: Host) -> None:
    """[D19] Who is there and never acknowledges gets some seconds."""

    async def scenario() -> None:
        async with subscriber() as stuck:
            stuck.acks = False
            await stuck.subscribe(host)
            await stuck.until(lambda: stuck.items, "the snapshot comes")
            begin = time.monotonic()
            await asyncio.to_thread(host.launch, "shutdown")
            await asyncio.to_thread(host.wait_for, lambda: not host.processes())
            assert time.monotonic() - begin < 15.0
            assert stuck.caller.farewell

    play(scenario())


def test_a_replaced_launcher_says_no_farewell(host: Host) -> None:
    """[D19] The next one goes on, under a higher number."""

    async def scenario() -> None:
        async with subscriber() as one:
            run = (await one.subscribe(host))["run"]
            await one.until(lambda: one.items, "the snapshot comes")
            await ask(host, "Replace")
            await one.until_attached(2)
            assert one.caller.attach is not None
            assert one.caller.attach["run"] > run
            assert not one.callers[0].farewell
            await one.until(lambda: one.told("launcher.restarted"), "the restart is told")

    play(scenario())


def test_what_is_not_in_memory_comes_from_the_disk(host: Host) -> None:
    """[D2] [D17] The same events, in the same words."""

    async def scenario() -> None:
        await _burst(host, 40)
        await asyncio.to_thread(kill_launcher, host)  # the next one has nothing of it in memory
        async with subscriber() as one:
            await one.subscribe(host, since=3)
            last = (await ask(host, "GetStatus"))["status"]["journal"]["last_sequence"]
            await one.until(lambda: one.sequences and one.sequences[-1] >= last, "all is told")
            assert one.sequences == list(range(4, one.sequences[-1] + 1))
            events = {event["id"]: event for event in host.events()}
            assert all(events[item["event"]["id"]] == item["event"] for item in one.items)

    play(scenario())


# The parts themselves, in the test's own process


async def _happen(journal: Journal, count: int) -> None:
    """Have so many events committed, each a commit of its own."""
    for number in range(count):
        committed = asyncio.get_running_loop().create_future()
        event = NewEvent("job.test", f"e{number}", {"label": f"e{number}"}, time.time())
        journal.write(Write([event], {}, committed.set_result))
        await committed


@asynccontextmanager
async def _publishing(path: Path) -> AsyncIterator[tuple[Journal, Subscriptions]]:
    """A journal of few events, and the subscriptions to it."""
    told: list[Subscriptions] = []
    journal = Journal(
        str(path / "journal.db"), "boot", lambda events: told[0].committed(events) if told else None, events_max=50
    )
    await _happen(journal, 1)
    told.append(
        Subscriptions(
            journal,
            Speaker(source="//host/relaunch/0", boot_id="boot", run=1),
            Snapshots(journal, lambda spec: "/dev/null"),
        )
    )
    try:
        yield journal, told[0]
    finally:
        told[0].close()
        await journal.close()


def test_what_was_compacted_away_is_told_as_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[D5] Whether it was gone before the subscriber came, or while it was away."""
    monkeypatch.setattr(journal_module, "COMPACTION_EVENTS", 10)

    async def scenario() -> None:
        async with subscriber() as one, _publishing(tmp_path) as (journal, subscribed):
            await _happen(journal, 200)
            one.cursor = write_cursor(await subscribed.subscribe(SubscriptionSpec.from_wire(one.spec()), 3, None))
            await one.until(lambda: one.sequences and one.sequences[-1] == journal.last_sequence, "all is told")
            gap, *rest = one.items
            assert (gap["kind"], gap["first"], gap["at"]["sequence"]) == ("gap", 4, journal.compacted_to)
            assert [item["at"]["sequence"] for item in rest] == list(range(journal.compacted_to + 1, 203))
            _follows(one.items, 3)

    play(scenario())


def test_what_fails_inside_ends_a_connection_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[D18] It is told once in the log, tried again after a while, and then all is told."""
    failures = 0

    def fail(*_: object) -> Found:
        nonlocal failures
        failures += 1
        raise RuntimeError("planted")

    async def scenario() -> None:
        async with subscriber() as one, _publishing(tmp_path) as (journal, subscribed):
            await subscribed.subscribe(SubscriptionSpec.from_wire(one.spec()), None, None)
            await one.until(lambda: one.items, "the snapshot comes")
            with monkeypatch.context() as planted:
                planted.setattr(Recent, "find", fail)
                await _happen(journal, 20)
                await one.until(lambda: len(one.callers) >= 3, "it is tried again")
                (listed,) = subscribed.to_wire()
                assert "planted" in listed["error"] or listed["state"] == "connected"
                assert failures <= len(one.callers)
            await one.until(lambda: one.sequences and one.sequences[-1] == journal.last_sequence, "all is told")
            _follows(one.items, 0)

    play(scenario())


def test_a_thousand_subscribers_do_not_hold_up_the_loop(tmp_path: Path) -> None:
    """[D18] Each turn takes part of them only, the first at once; in the end all are told."""
    told: list[int] = []

    class Slow:
        def __init__(self, number: int) -> None:
            self.number = number

        def step(self) -> None:
            time.sleep(0.0005)
            told.append(self.number)

    async def scenario() -> None:
        turns = Turns()
        workers = [Slow(number) for number in range(100)]
        turns.add(workers)
        assert 1 <= len(told) < 20
        turns.add(workers[:1])  # in line like everyone
        longest = 0.0
        while len(told) < 101:
            begin = time.monotonic()
            await asyncio.sleep(0)
            longest = max(longest, time.monotonic() - begin)
        assert longest < 0.5
        assert told == [*range(100), 0]

    play(scenario())
