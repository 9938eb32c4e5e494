"""Subscriptions as a launcher keeps them: taken, listed, ended, run out, and found again by the next launcher."""

import asyncio
import json
import os
import secrets
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from tests.system.evidence import events, kill_launcher, kinds, launcher_pid, switches
from tests.system.launcher_host import Host, alive, wait_for
from tests.system.peer import Peer, Refused, call, spec_of
from tests.system.played_subscriber import Message, ask, subscriber, subscriptions

import relaunch
from relaunch.subscription import SubscriptionSpec

# Nobody listens there.
NOBODY = "127.0.0.1:1"


@pytest.fixture
def host(shared: Host) -> Host:
    """Shared by all tests here, each with labels of its own."""
    return shared


def _spec(**fields: Any) -> Message:
    return {
        "id": secrets.token_hex(16),
        "address": NOBODY,
        "transport": "tcp",
        "fingerprint": "a" * 64,
        "secret": secrets.token_hex(32),
        **fields,
    }


def _listed(host: Host) -> dict[str, Message]:
    return {one["id"]: one for one in call(host.socket, "Subscriptions")["subscriptions"]}


def play(scenario: Coroutine[Any, Any, None]) -> None:
    async def run() -> None:
        async with asyncio.timeout(55):
            await scenario

    asyncio.run(run())


def test_a_subscription_is_listed_and_ended(fresh: Host) -> None:
    """[D15] With all that was asked for but the secret; by id or by name."""
    first, second = _spec(name="watch", patterns=["o*"], kinds=["all"], lease_s=60), _spec()
    answer = call(fresh.socket, "Subscribe", {"subscription": first})
    assert answer["source"] == f"//{os.uname().nodename}/relaunch/{os.getuid()}"
    assert answer["boot_id"] == call(fresh.socket, "GetStatus")["status"]["boot_id"]
    assert answer["run"] >= time.time() - 3600
    assert answer["cursor"] is None
    call(fresh.socket, "Subscribe", {"subscription": second})
    listed = _listed(fresh)
    told = {
        name: listed[first["id"]][name] for name in ("name", "address", "transport", "patterns", "kinds", "lease_s")
    }
    assert told == {name: first[name] for name in told}
    wait_for(lambda: "nobody listens" in (_listed(fresh)[first["id"]]["error"] or ""), what="the failure is listed")
    assert [one["id"] for one in call(fresh.socket, "GetStatus")["status"]["subscribers"]] == [
        first["id"],
        second["id"],
    ]
    assert call(fresh.socket, "Unsubscribe", {"ids": ["watch"]}) == {"ended": [first["id"]]}
    with pytest.raises(Refused, match="NoSuchSubscription") as error:
        call(fresh.socket, "Unsubscribe", {"ids": [second["id"], "watch"]})
    assert error.value.name == "NoSuchSubscription"
    assert not _listed(fresh)
    history = events(fresh)
    told_kinds = [kind for kind in kinds(history) if kind.startswith("subscription.")]
    assert told_kinds == ["subscription.begun"] * 2 + ["subscription.ended"] * 2
    begun = next(event for event in history if event["type"] == "io.relaunch.subscription.begun")
    assert {name: begun["data"][name] for name in ("id", "name", "address")} == {
        "id": first["id"],
        "name": "watch",
        "address": NOBODY,
    }


def test_a_secret_is_told_to_nobody(host: Host) -> None:
    """[D15] Neither in what is answered, nor in an event, nor in the log."""
    spec = _spec(name="watch")
    call(host.socket, "Subscribe", {"subscription": spec})
    wait_for(lambda: _listed(host)[spec["id"]]["error"], what="it is dialled")
    kill_launcher(host)
    with pytest.raises(Refused):
        call(host.socket, "Subscribe", {"subscription": {**spec, "patterns": ["["]}})
    said = json.dumps([_listed(host), call(host.socket, "GetStatus"), events(host)])
    said += (host.state / "launcher.log").read_text()
    assert spec["id"] in said
    assert spec["secret"] not in said
    assert (host.state / "journal.db").stat().st_mode & 0o077 == 0


BAD: list[tuple[Message, str]] = [
    ({"id": "x"}, "id"),
    ({"address": "here:there"}, "port"),
    ({"address": ":9000"}, "names no host"),
    ({"address": 7}, "address"),
    ({"transport": "pigeon"}, "quic or tcp"),
    ({"fingerprint": "a" * 63}, "fingerprint"),
    ({"secret": "A" * 64}, "secret"),
    ({"patterns": ["["]}, "opens a set"),
    ({"kinds": "job.exited"}, "kinds"),
    ({"beat_s": 0}, "beat_s"),
    ({"lease_s": -1}, "lease_s"),
    ({"name": "../up"}, "name"),
    ({"colour": "red"}, "colour"),
]


@pytest.mark.parametrize(("wrong", "told"), BAD, ids=lambda value: str(value)[:20])
def test_a_wrong_subscription_is_refused_by_name(host: Host, wrong: Message, told: str) -> None:
    """[W5] One line that names what is wrong."""
    with pytest.raises(Refused, match=told):
        call(host.socket, "Subscribe", {"subscription": _spec(**wrong)})
    assert not _listed(host)


def test_there_is_a_bound(host: Host) -> None:
    """[D18] A thousand, each of them unreachable: the next is refused, and jobs start and stop as ever."""
    with Peer(host.socket) as peer:
        for _ in range(10):
            for _ in range(100):
                peer.send("Subscribe", {"subscription": _spec(name="many")})
            for _ in range(100):
                peer.answer()
        with pytest.raises(Refused, match="1000 subscriptions"):
            peer.call("Subscribe", {"subscription": _spec()})
        begin = time.monotonic()
        peer.submit("quick")
        peer.call("Stop", {"patterns": ["quick"]})
        assert time.monotonic() - begin < 10.0
        assert len(peer.call("Unsubscribe", {"ids": ["many"]})["ended"]) == 1_000
        peer.call("Subscribe", {"subscription": _spec()})


@pytest.mark.parametrize(
    ("since", "at_a_time", "first"),
    [(0, False, "old"), (None, True, "new"), (2**40, False, "now")],
    ids=["the beginning", "a time", "beyond the end"],
)
def test_it_begins_where_it_was_asked_to(fresh: Host, since: int | None, at_a_time: bool, first: str) -> None:
    """[D3] After a sequence, or at a time."""

    async def scenario() -> None:
        await _run(fresh, "old")
        between = time.time()
        await _run(fresh, "new")
        async with subscriber() as one:
            answer = await one.subscribe(fresh, since, between if at_a_time else None, kinds=["job.exited"])
            assert answer["cursor"] is not None
            await one.until_attached()
            await _run(fresh, "now")
            await one.until(lambda: "now" in [event["subject"] for event in one.told("job.exited")])
            assert one.told("job.exited")[0]["subject"] == first
            assert {item["kind"] for item in one.items} == {"entry"}

    play(scenario())


async def _run(host: Host, label: str) -> None:
    await ask(host, "Submit", {"spec": spec_of(label, "true")})
    await ask(host, "Wait", {"patterns": [label]})


def test_the_same_id_again_renews_it(fresh: Host) -> None:
    """[D15] Under the new terms, at once, from another port; it is one subscription."""

    async def scenario() -> None:
        async with subscriber() as one, subscriber() as moved:
            await one.subscribe(fresh, kinds=["job.exited"])
            await one.until(lambda: one.items)
            moved.id, moved.secret, moved.cursor = one.id, one.secret, one.cursor
            await moved.subscribe(fresh, kinds=["job.started"])
            await moved.until_attached()
            await one.until(lambda: one.caller.over, "the old connection ends")
            await _run(fresh, "a")
            await moved.until(lambda: moved.told("job.started"), "what is asked for now is told")
            (listed,) = await subscriptions(fresh)
            assert (listed["address"], listed["state"]) == (moved.spec()["address"], "connected")
            assert kinds(fresh.events()).count("subscription.begun") == 1

    play(scenario())


def _shut_down(host: Host) -> None:
    host.launch("shutdown")
    wait_for(lambda: not host.processes(), what="everything ends")
    host.serve()


def _kill(host: Host) -> None:
    kill_launcher(host)


@pytest.mark.parametrize("end", [_kill, _shut_down], ids=["killed", "shut down"])
def test_it_outlives_the_launcher(host: Host, end: Callable[[Host], None]) -> None:
    """[D15] The next one connects by itself, under a higher number, and goes on."""

    async def scenario() -> None:
        async with subscriber() as one:
            run = (await one.subscribe(host, since=0, name="watch", lease_s=500.0))["run"]
            await one.until_attached()
            await asyncio.to_thread(end, host)
            await one.until_attached(2)
            await _run(host, "a")
            await one.until(lambda: one.told("job.exited"), "the next launcher tells")
            assert one.caller.attach is not None
            assert one.caller.attach["run"] > run
            (listed,) = await subscriptions(host)
            assert (listed["name"], listed["lease_s"], listed["state"]) == ("watch", 500.0, "connected")
            assert listed["acked"]["sequence"] > 0
            assert one.sequences == list(range(1, one.sequences[-1] + 1))

    play(scenario())


def test_its_place_is_kept_at_a_shutdown(host: Host) -> None:
    """[D15] What the next launcher lists as acknowledged is what was, though the subscriber has gone."""

    async def scenario() -> None:
        async with subscriber() as one:
            await one.subscribe(host, since=0)
            await one.until(lambda: one.told("launcher.started"))
            await asyncio.to_thread(host.launch, "shutdown")
            await one.until(lambda: one.told("launcher.stopped"))
        await asyncio.to_thread(wait_for, lambda: not host.processes())
        await asyncio.to_thread(host.serve)
        (listed,) = await subscriptions(host)
        assert listed["acked"] == one.cursor
        assert listed["behind"] == 1  # the start of this launcher

    play(scenario())


def test_it_ends_with_its_lease(host: Host) -> None:
    """[D20] Nobody was reached for so long: it is gone, and an event and the log say so."""
    spec = _spec(name="watch", lease_s=0.5)
    call(host.socket, "Subscribe", {"subscription": spec})
    wait_for(lambda: not _listed(host), what="the lease ends")
    wait_for(lambda: "subscription.expired" in kinds(events(host)), what="it is told")
    (expired,) = [event for event in events(host) if event["type"] == "io.relaunch.subscription.expired"]
    assert (expired["data"]["id"], expired["data"]["name"]) == (spec["id"], "watch")
    assert "0.5 s" in (host.state / "launcher.log").read_text()
    kill_launcher(host)
    assert not _listed(host)


def test_it_outlives_a_journal(host: Host) -> None:
    """[D6] [D15] The journal is damaged while all runs: the subscription stays, and is told of another journal."""

    async def scenario() -> None:
        async with subscriber() as one:
            await one.subscribe(host)
            await one.until(lambda: one.items)
            old = one.items[0]["at"]["epoch"]
            _take_away(host.state / "journal.db")
            while call(host.socket, "GetStatus")["status"]["journal"]["epoch"] == old:
                await _run(host, "a")
            await one.until(lambda: one.told("journal.reset"), "the reset is told")
            (reset,) = [item for item in one.items if item["kind"] == "reset"]
            assert reset["at"]["epoch"] != old
            assert len(await subscriptions(host)) == 1
            await asyncio.to_thread(kill_launcher, host)
            await one.until_attached(2)

    play(scenario())


def _take_away(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def test_a_launcher_that_nobody_subscribed_to_does_nothing(host: Host) -> None:
    """[S24] After the last subscription has ended it is as idle as before the first."""

    async def scenario() -> None:
        async with subscriber() as one:
            await one.subscribe(host)
            await one.until(lambda: one.items)
            await ask(host, "Unsubscribe", {"ids": [one.id]})
            await one.until(lambda: one.caller.over, "the launcher hangs up")

    play(scenario())
    pid = launcher_pid(host)
    wait_for(lambda: _is_idle(pid), timeout_s=30.0, what="the launcher is idle")
    assert alive(pid)


def _is_idle(pid: int) -> bool:
    before = switches(pid)
    end = time.monotonic() + 1.0
    wait_for(lambda: time.monotonic() > end)
    return switches(pid) == before


def test_the_api_subscribes(fresh: Host) -> None:
    """[D15] Likewise from Python; and ``events`` takes kinds, and the epoch that ``since`` belongs to."""
    spec = SubscriptionSpec.from_wire(_spec(name="watch"))

    async def scenario() -> None:
        async with relaunch.connect(str(fresh.socket)) as launcher:
            delivery = await launcher.subscribe(spec, since=0)
            assert delivery.cursor == {"epoch": (await launcher.status()).journal["epoch"], "sequence": 0}
            (listed,) = await launcher.subscriptions()
            assert listed["id"] == spec.id
            assert list(await launcher.unsubscribe("watch")) == [spec.id]
            with pytest.raises(relaunch.errors.NoSuchSubscription):
                await launcher.unsubscribe("watch")
            await launcher.submit("a", ["true"])
            await launcher.wait("a")
            found = [event.kind async for event in launcher.events("z*", kinds=["job.exited", "launcher.*"])]
            assert found == ["launcher.started"]
            found = [event.kind async for event in launcher.events("a", kinds=[])]
            assert found == ["launcher.started", "job.exited"]
            every = [event.sequence async for event in launcher.events()]
            assert [
                event.sequence async for event in launcher.events(since=3, epoch=delivery.cursor["epoch"])
            ] == every[3:]
            assert [event.sequence async for event in launcher.events(since=3, epoch="other")] == every

    play(scenario())
