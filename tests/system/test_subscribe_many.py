"""A subscriber of many launchers: what is told together, what is marked, and how it ends."""

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.system.launcher_host import Host, alive, wait_for
from tests.system.played_launcher import HungUp, attached, enact, entry, subscribed, taken
from tests.system.subscribing import HOST, ends, subscribing
from tests.system.told import Told

import relaunch
from relaunch.cli.telling import Lines
from relaunch.core.delivery import Cursor
from relaunch.errors import HostUnreachable, Refused
from relaunch.subscriber.subscription import Subscription
from relaunch.subscribing.hosts import TOGETHER_WITHIN_S, Notices, Pace
from relaunch.transport.address import Address

MANY = 20
SERVE = ("--serve", "-a", "127.0.0.1:0")


@pytest.fixture
def many() -> Iterator[list[Host]]:
    """Launchers in private places."""
    hosts = [Host() for _ in range(MANY)]
    try:
        with ThreadPoolExecutor() as threads:
            for done in [threads.submit(host.serve) for host in hosts]:
                done.result()
        yield hosts
    finally:
        with ThreadPoolExecutor() as threads:
            for done in [threads.submit(host.end) for host in hosts]:
                done.result()


async def register(subscription: Subscription, key: str, host: Host) -> None:
    async with relaunch.connect(str(host.socket)) as launcher:
        journal = (await launcher.status()).journal
        answer = await launcher.subscribe(subscription.request(key), since=journal["last_sequence"])
    cursor = Cursor(journal["epoch"], journal["last_sequence"])
    subscription.registered(key, source=answer.source, boot_id=answer.boot_id, run=answer.run, cursor=cursor)


@pytest.mark.timeout(120)
def test_twenty_launchers_that_are_lost_together_are_one_line_and_an_event_each(many: list[Host]) -> None:
    """[R24] [D10]"""

    pids = [pid for host in many for pid in (host.keeper_pid, host.launcher_pid)]

    async def play() -> None:
        address = Address("127.0.0.1", 0)
        async with await Subscription.open(address=address, kinds=("host.*",), suspect_after_s=2.0) as subscription:
            for number, host in enumerate(many):
                await register(subscription, f"host{number}", host)
            async with asyncio.timeout(30):
                while not all(map(subscription.is_well, subscription.ids())):
                    await subscription.changed()
            # On a busy machine twenty of them may be slow to call.
            with contextlib.suppress(TimeoutError):
                while True:
                    assert (await taken(subscription, 2.5)).kind in ("host.suspect", "host.back", "host.withdrawn")
            assert all(map(subscription.is_well, subscription.ids()))
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            lines, said = Lines(), ""
            told = []
            for _ in range(2 * MANY):
                told.append(await taken(subscription))
                said += lines.take(told[-1])
            assert [event.kind for event in told] == ["host.suspect"] * MANY + ["host.lost"] * MANY
            assert {event.data["certain"] for event in told} == {False}
            assert [event.data["number"] for event in told] == [*range(1, MANY + 1)] * 2
            first, second = (line.partition("  ")[2] for line in said.splitlines())
            assert first.startswith(f"{MANY} hosts suspected, not heard for ")
            assert second.startswith(f"{MANY} hosts lost?, not heard for ")

    enact(play)


def test_only_what_was_in_hand_is_marked(host: Host) -> None:
    """[R20] [D33] [D4] Killed while nothing was in hand, it marks nothing."""
    named = (*SERVE, "--name", "pager", "--kind", "job.exited")
    with subscribing(host, *named) as told:
        ends(host, "p1")
        assert told.line().startswith(f"{HOST}  p1 exited")
        (one,) = host.status()["subscribers"]
        after = one["acked"]["sequence"] if one["acked"] else 0
        ends(host, "p2")
        assert told.line().startswith(f"{HOST}  p2 exited")
        host.wait_for(lambda: host.status()["subscribers"][0]["acked"]["sequence"] > after)
        host.wait_for(lambda: host.status()["subscribers"][0]["behind"] == 0)
        told.process.kill()
        told.process.wait()
    ends(host, "p3")
    with subscribing(host, *named, "--exec", "kill -KILL $PPID") as told:
        assert told.line().startswith(f"{HOST}  p3 exited")
        assert told.process.wait(20) == -signal.SIGKILL
    ends(host, "p4")
    with subscribing(host, *named, "--json") as told:
        events = [told.event() for _ in range(2)]
        assert [(event["subject"], event.get("redelivered")) for event in events] == [("p3", True), ("p4", None)]
        told.end()


def test_who_has_handled_everything_hangs_up_at_a_farewell() -> None:
    """[D19] The launcher need not wait for it."""

    async def play() -> None:
        async with subscribed() as (subscription, spec):
            played = await attached(spec)
            played.deliver(entry(1))
            await taken(subscription)
            await subscription.ack()
            await played.acked(1)
            played.farewell()
            with pytest.raises(HungUp):
                await played.reply()

    enact(play)


@pytest.mark.parametrize(("transport", "suspicions"), [("tcp", 0), ("quic", 1)])
def test_where_the_keeper_is_killed_the_launcher_is_lost_for_certain(
    host: Host, transport: str, suspicions: int
) -> None:
    """[R19] [D11] Over QUIC it is silence that is noticed. What ran goes on, and so does what is told."""
    told = Told(host, *SERVE, "-n", transport).ready()
    host.launch("submit", "-l", "p1", "-p", "sleep", "1000")
    keeper, launcher, job = host.keeper_pid, host.launcher_pid, host.job("p1")["pid"]
    os.kill(keeper, signal.SIGKILL)
    (lost,) = told.wait_for("launcher.lost", 1)
    assert lost["data"]["certain"] is True
    wait_for(lambda: not alive(launcher))
    host.serve()
    told.wait_for("launcher.started", 1)
    os.kill(job, signal.SIGKILL)
    (end,) = told.wait_for("job.exited", 1)
    assert end["subject"] == "p1"
    assert told.end() == 0
    assert len(told.of("host.suspect")) <= suspicions
    assert not told.of("host.lost")


@pytest.mark.parametrize("transport", ["tcp", "quic"])
def test_nothing_is_left_open_when_a_subscriber_has_been_left(host: Host, transport: str) -> None:
    """[D31] [D14] No socket, no task, no word of it."""
    program = f"""
import asyncio, relaunch
async def twice():
    for _ in range(2):
        async with relaunch.subscribe(serve="127.0.0.1:{20000 + os.getpid() % 10000}", transport={transport!r}):
            pass
asyncio.run(twice())
"""
    command = [sys.executable, "-W", "error::ResourceWarning", "-c", program]
    done = subprocess.run(command, env=host.env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_said_of_many_hosts_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """[R18]"""

    async def play() -> None:
        notices = Notices()
        with caplog.at_level(logging.INFO, "relaunch.subscribing"):
            for number in range(MANY):
                notices.failed(f"n{number}", HostUnreachable(f"n{number}: no way there"))
            notices.failed("m1", HostUnreachable("m1: no way there"))
            notices.well("n1", "registered")
            await asyncio.sleep(2 * TOGETHER_WITHIN_S)
            notices.well("n2", "registered")
            notices.close()

    asyncio.run(play())
    assert caplog.messages == [
        "21 hosts: n0, n1, n2, n3, n4, n5, n6, n7 ... and 13 more; the first of them: n0: no way there",
        "n1: registered",
        "n2: registered",
    ]


def test_tries_become_rarer_up_to_a_bound_and_are_never_regular() -> None:
    """[R18]"""
    pace = Pace(1.0, 15.0)
    waits_s = [pace.next_s() for _ in range(50)]
    assert all(limit_s / 2 <= wait_s <= limit_s for wait_s, limit_s in zip(waits_s, (1, 2, 4, 8, 15), strict=False))
    assert max(waits_s) <= 15
    assert len(set(waits_s)) == 50
    pace.reset()
    assert pace.next_s() <= 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--advertise", "10.0.0.1"), "--advertise means nothing without --serve"),
        (("--serve", "--advertise", ":9000"), "names no host"),
        (("--fanout", "3"), "--fanout means nothing without -H"),
        (("-H", "-oProxyCommand=x"), "-H"),
        (("-H", "a b;c"), "b;c"),
    ],
)
def test_what_cannot_be_meant_of_hosts_is_refused(place: Host, options: tuple[str, ...], said: str) -> None:
    """[D34] [R4] [R17]"""
    refused = place.launch("subscribe", *options, check=False)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.count("\n") == 1
    assert said in refused.stderr


def test_a_program_is_refused_what_cannot_be_meant() -> None:
    """[D34] [R17]"""
    for asked in ({"hosts": ["-v"]}, {"hosts": ["a"], "path": "/x"}, {"advertise": "a:1"}):
        with pytest.raises(relaunch.RelaunchError):
            relaunch.subscribe(**asked)


def test_how_far_it_has_come_is_kept_for_each_host(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """[R20] A long name of a host included."""
    from relaunch.client.cursor_file import CursorFile

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    long = "user@" + "x" * 250 + ".example.org"
    file = CursorFile("pager")
    for number, host in enumerate(("", "a", long)):
        file.place(host).write(Cursor("e" * 32, number), Cursor("e" * 32, 2**60))
    assert file.place("b").begin(12.5) == 12.5
    file.place("b").write(None, Cursor("e", 5))
    assert file.place("a").begin(12.5) is None
    file.close()
    file = CursorFile("pager")
    assert [file.place(host).acked for host in ("", "a", long)] == [Cursor("e" * 32, number) for number in range(3)]
    assert (file.place("b").acked, file.place("b").begin(99.0)) == (None, 12.5)
    assert file.place("c").acked is None
    file.close()


@pytest.mark.parametrize("acked", ['{"epoch":"e","sequence":-1}', '{"epoch":"","sequence":1}', "[]", "5"])
def test_a_file_that_was_harmed_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, acked: str) -> None:
    """[R20] It could name any place."""
    from relaunch.client.cursor_file import CursorFile

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    file = CursorFile("pager")
    file.place().write(None, None)
    file.close()
    (path,) = tmp_path.rglob("pager.cursor")
    path.write_text(f'{{"acked":{acked},"handed":null}}'.ljust(511) + "\n")
    with pytest.raises(Refused, match="cannot be read"):
        CursorFile("pager")
