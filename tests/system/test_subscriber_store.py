"""Subscriptions that outlive their subscriber: killed, closed, damaged, out of disk. [D3] [D4] [D26]"""

import asyncio
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.system.played_launcher import (
    Message,
    attached,
    call,
    enact,
    entry,
    register,
    sequence_of,
    snapshot,
    subscribed,
    taken,
)

from relaunch.errors import BadPlace, BadSpec, ListenFailed, Refused
from relaunch.places import state_directory
from relaunch.subscriber import store
from relaunch.subscriber.subscription import Subscription
from relaunch.subscription import SubscriptionSpec
from relaunch.transport.address import Address

NAME = "night"
Scene = Callable[[Subscription, SubscriptionSpec], Awaitable[None]]


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def directory() -> Path:
    return Path(state_directory(), "subscribers")


def life(scene: Scene, since: int | None = 0, **asked: Any) -> None:
    """One life of the subscription, with an orderly end."""

    async def play() -> None:
        async with subscribed(since, name=NAME, **asked) as (subscription, spec):
            await scene(subscription, spec)

    enact(play)


class Process:
    """A subscriber as a process."""

    def __init__(self, name: str | None = NAME, suspect_after_s: float = 3.0) -> None:
        command = [sys.executable, "-m", "tests.system.durable_subscriber", name or "", str(suspect_after_s)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def hear(self) -> Message:
        assert self.process.stdout is not None
        said: Message = json.loads(self.process.stdout.readline())
        return said

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    async def next(self) -> Message:
        """Have it take the next event."""
        self.say("next")
        return await asyncio.to_thread(self.hear)

    def spec(self) -> SubscriptionSpec:
        said = self.hear()
        assert "spec" in said, said
        return SubscriptionSpec.from_wire(said["spec"])

    def end(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)
        self.process.communicate(timeout=20)


@contextmanager
def subscriber(name: str | None = NAME, suspect_after_s: float = 3.0) -> Iterator[Process]:
    process = Process(name, suspect_after_s)
    try:
        yield process
    finally:
        process.end()


def test_the_next_of_a_name_is_the_same_to_its_launchers() -> None:
    """[D26] Certificate, id and secret stay; address and filter may be others."""
    found: list[SubscriptionSpec] = []

    async def scene(subscription: Subscription, spec: SubscriptionSpec) -> None:
        found.append(spec)

    life(scene)
    life(scene, patterns=("p*",))
    first, second = found
    same = [(one.id, one.secret, one.fingerprint, one.name) for one in found]
    assert same[0] == same[1]
    assert (first.patterns, second.patterns) == ((), ("p*",))


def test_after_an_orderly_end_nothing_comes_again() -> None:
    """[D3] [D4]"""

    async def first(subscription: Subscription, spec: SubscriptionSpec) -> None:
        played = await attached(spec)
        played.deliver(entry(1), entry(2), entry(3))
        assert (await taken(subscription)).sequence == 1
        assert (await taken(subscription)).sequence == 2
        await subscription.ack()

    async def second(subscription: Subscription, spec: SubscriptionSpec) -> None:
        played = await call(spec)
        assert sequence_of(await played.attach(spec)) == 2
        played.deliver(entry(3))
        told = await taken(subscription)
        assert (told.sequence, told.redelivered) == (3, False)

    async def third(subscription: Subscription, spec: SubscriptionSpec) -> None:
        played = await call(spec)
        assert sequence_of(await played.attach(spec)) == 2
        played.deliver(entry(3), entry(4))
        told = [await taken(subscription) for _ in range(2)]
        assert [(one.sequence, one.redelivered) for one in told] == [(3, True), (4, False)], "it was in hand"

    life(first)
    life(second)
    life(third)


def test_a_doubt_lasts_until_its_event_has_come() -> None:
    """[D4] Also over a life in which that launcher never called, or was never asked for."""

    async def first(subscription: Subscription, spec: SubscriptionSpec) -> None:
        (await attached(spec)).deliver(entry(1))
        await taken(subscription)

    async def idle(subscription: Subscription, spec: SubscriptionSpec) -> None:
        pass

    async def last(subscription: Subscription, spec: SubscriptionSpec) -> None:
        (await attached(spec)).deliver(entry(1))
        assert (await taken(subscription)).redelivered

    life(first)
    life(idle)
    life(idle, key="other")
    life(last)


def test_a_subscriber_that_was_killed_goes_on_with_what_it_had_in_hand() -> None:
    """[D3] [D4] [D26] That one comes again, with a mark; nothing else does, and nothing is lost."""
    handled: list[Message] = []

    async def one(process: Process, count: int, since: int) -> None:
        spec = await asyncio.to_thread(process.spec)
        played = await call(spec)
        assert sequence_of(await played.attach(spec)) == since
        played.deliver(*(entry(n) for n in range(since + 1, since + 11)))
        handled.extend([await process.next() for _ in range(count)])
        process.end(signal.SIGKILL)

    for count, since in ((3, 0), (1, 2), (4, 2)):
        with subscriber() as process:
            enact(partial(one, process, count, since))
    told = [(int(said["id"].partition("/")[2]), said["redelivered"]) for said in handled]
    first = [(1, False), (2, False), (3, False)]
    assert told == [*first, (3, True), (3, True), (4, False), (5, False), (6, False)]


def test_an_acknowledgement_leaves_after_the_commit() -> None:
    """[D26] What the launcher was told is in the file, whoever looks."""

    async def scene(subscription: Subscription, spec: SubscriptionSpec) -> None:
        played = await attached(spec)
        with sqlite3.connect(directory() / f"{NAME}.db") as file:
            for sequence in range(1, 50):
                played.deliver(entry(sequence))
                await taken(subscription)
                await subscription.ack()
                await played.acked(sequence)
                assert file.execute("SELECT sequence FROM accounts").fetchone() == (sequence,)

    life(scene)


def test_a_checkpoint_holds_up_what_follows_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """[D26] The log does not grow without end either."""
    monkeypatch.setattr(store, "CHECKPOINT_COMMITS", 10)

    async def scene(subscription: Subscription, spec: SubscriptionSpec) -> None:
        played = await attached(spec)
        for begin in range(0, 500, 100):
            played.deliver(*(entry(n) for n in range(begin + 1, begin + 101)))
            told = [await taken(subscription) for _ in range(100)]
            assert [one.sequence for one in told] == list(range(begin + 1, begin + 101))
        await subscription.ack()
        await played.acked(500)
        assert (directory() / f"{NAME}.db-wal").stat().st_size < 200_000

    life(scene)


def test_a_beginning_that_was_asked_for_counts_once() -> None:
    """[D26] What was kept counts from then on."""

    async def idle(subscription: Subscription, spec: SubscriptionSpec) -> None:
        pass

    async def scene(subscription: Subscription, spec: SubscriptionSpec) -> None:
        assert sequence_of(await (await call(spec)).attach(spec)) == 7

    life(idle, since=7)
    life(scene, since=9)


def test_a_snapshot_is_kept_when_it_has_been_handled() -> None:
    """[D7] [D26]"""

    async def first(subscription: Subscription, spec: SubscriptionSpec) -> None:
        played = await attached(spec)
        played.deliver(snapshot(30))
        await taken(subscription)

    async def second(subscription: Subscription, spec: SubscriptionSpec) -> None:
        played = await call(spec)
        assert sequence_of(await played.attach(spec)) is None
        played.deliver(snapshot(31))
        await taken(subscription)
        await subscription.ack()

    async def third(subscription: Subscription, spec: SubscriptionSpec) -> None:
        assert sequence_of(await (await call(spec)).attach(spec)) == 31

    life(first, since=None, kinds=("all",))
    life(second, since=None, kinds=("all",))
    life(third, since=None, kinds=("all",))


def test_a_name_is_used_by_one_subscriber_at_a_time() -> None:
    """[D26]"""
    with subscriber() as process:
        process.spec()
        with subscriber() as second:
            said = second.hear()
        message = f"subscription {NAME} is in use by pid {process.process.pid}"
        assert said == {"error": "Refused", "message": message}
    with subscriber() as third:
        third.spec()


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".x", "x" * 101, "a b"])
def test_a_name_that_can_be_no_file_is_refused(name: str) -> None:
    """[D26]"""
    with pytest.raises(BadSpec):
        asyncio.run(Subscription.open(address=Address("127.0.0.1", 0), name=name))


def test_the_file_is_for_nobody_else() -> None:
    """[D26]"""

    async def scene(subscription: Subscription, spec: SubscriptionSpec) -> None:
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory().iterdir()}
        assert modes == {f"{NAME}{suffix}": 0o600 for suffix in (".db", ".db-wal", ".db-shm", ".lock")}
        assert stat.S_IMODE(directory().stat().st_mode) == 0o700

    life(scene)
    directory().chmod(0o755)
    with pytest.raises(BadPlace, match="open to others"):
        life(scene)


def _text(path: Path) -> None:
    path.write_text("not a database " * 1000)


def _foreign(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as file:
        file.execute("CREATE TABLE others (x)")
    file.close()


def _newer(path: Path) -> None:
    with sqlite3.connect(path) as file:
        file.execute("PRAGMA user_version = 99")
    file.close()


def _no_table(path: Path) -> None:
    with sqlite3.connect(path) as file:
        file.execute("DROP TABLE accounts")
    file.close()


def _no_credentials(path: Path) -> None:
    with sqlite3.connect(path) as file:
        file.execute("UPDATE credentials SET certificate = x'00'")
    file.close()


def _no_secret(path: Path) -> None:
    with sqlite3.connect(path) as file:
        file.execute("UPDATE accounts SET secret = 'x'")
    file.close()


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _torn(path: Path) -> None:
    os.truncate(path, 5000)


def _scrambled(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage", [_text, _foreign, _newer, _no_table, _no_credentials, _no_secret, _empty, _torn, _scrambled]
)
def test_a_file_that_is_no_sound_one_is_set_aside(
    damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    """[D26] Renamed, never deleted; a new one begins, and that is said."""
    ids: list[str] = []

    async def scene(subscription: Subscription, spec: SubscriptionSpec) -> None:
        ids.append(spec.id)

    life(scene)
    path = directory() / f"{NAME}.db"
    damage(path)
    data = path.read_bytes()
    life(scene)
    (aside,) = [found for found in directory().iterdir() if "set-aside" in found.name and found.name[-1] not in "lm"]
    assert aside.read_bytes()[100:] == data[100:]
    assert f"subscription {NAME} begins anew" in caplog.text
    assert str(aside) in caplog.text
    assert ids[0] != ids[1]


def test_a_directory_in_its_place_is_set_aside_too() -> None:
    """[D26]"""

    async def scene(subscription: Subscription, spec: SubscriptionSpec) -> None:
        pass

    life(scene)
    (directory() / f"{NAME}.db").unlink()
    (directory() / f"{NAME}.db").mkdir()
    life(scene)


@pytest.fixture
def small_disk(root: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state directory on a disk of its own, which can be filled."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", str(place)], check=True)
    monkeypatch.setenv("XDG_STATE_HOME", str(place))
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def _fill(place: Path) -> Path:
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    return ballast


def test_a_full_disk_is_one_clear_error_and_loses_nothing(small_disk: Path) -> None:
    """[D26] Nothing is acknowledged that is not put down; once there is room, it goes on."""

    async def scene(subscription: Subscription, spec: SubscriptionSpec) -> None:
        played = await attached(spec)
        ballast = _fill(small_disk)
        played.deliver(*(entry(n) for n in range(1, 201)))
        handled: list[int] = []

        async def handle(until: int) -> None:
            while len(handled) < until:
                handled.append((await taken(subscription)).sequence)

        with pytest.raises(Refused, match=f"subscription {NAME} cannot put down .*no event is lost"):
            await handle(200)
        with pytest.raises(Refused, match="full"):
            await subscription.ack()
        played.beat(200)
        again = await call(spec)
        with pytest.raises(AssertionError):
            await again.attach(spec)
        ballast.unlink()
        await handle(200)
        assert handled == list(range(1, 201))
        await subscription.ack()
        await played.acked(200)

    life(scene)


def test_a_place_that_cannot_be_written_is_one_clear_error(small_disk: Path) -> None:
    """[D26]"""
    _fill(small_disk)
    with pytest.raises((Refused, BadPlace)):
        asyncio.run(Subscription.open(address=Address("127.0.0.1", 0), transport="tcp", name=NAME))


def test_another_launcher_behind_the_same_name_is_taken_for_what_it_is() -> None:
    """[D22] A host that was set up anew, say with another user id: what it registers as counts."""

    async def first(subscription: Subscription, spec: SubscriptionSpec) -> None:
        played = await attached(spec)
        register(subscription, source="//host/relaunch/2", run=2)
        assert await played.hung_up()
        answer = await (await call(spec)).attach(spec)
        assert "error" in answer
        answer = await (await call(spec)).attach(spec, source="//host/relaunch/2", run=2)
        assert sequence_of(answer) == 0

    life(first)


def test_an_address_that_is_in_use_leaves_the_name_as_it_was() -> None:
    """[D26] Nothing is in less doubt, and nobody is locked out."""

    async def first(subscription: Subscription, spec: SubscriptionSpec) -> None:
        (await attached(spec)).deliver(entry(1))
        await taken(subscription)

    async def second(subscription: Subscription, _: SubscriptionSpec) -> None:
        with pytest.raises(ListenFailed):
            await Subscription.open(address=subscription.address, transport="tcp", name=NAME)

    async def third(subscription: Subscription, spec: SubscriptionSpec) -> None:
        (await attached(spec)).deliver(entry(1))
        assert (await taken(subscription)).redelivered

    async def unnamed() -> None:
        async with subscribed() as (subscription, spec):
            await second(subscription, spec)

    life(first)
    enact(unnamed)
    life(third)
