"""Subscriptions as they are listed and ended, events as they are put in words, and ``relaunch.subscribe``."""

import asyncio
import json
import os
import re
import signal
from typing import Any

import pytest
from tests.system.launcher_host import Host
from tests.system.subscribing import ends, subscribing

import relaunch
from relaunch.cli.executing import environment
from relaunch.cli.telling import Lines
from relaunch.errors import BadCall, BadPattern, BadSpec, NoLauncher, Usage
from relaunch.subscribing import KINDS, checked_kinds

ID = re.compile("[0-9a-f]{32}")


def test_subscriptions_are_listed(host: Host) -> None:
    """[D36]"""
    head = "ID  NAME  ADDRESS  TRANSPORT  STATE  BEHIND  FILTER  LAST ERROR\n"
    assert host.launch("subscriptions").stdout == head
    assert json.loads(host.launch("subscriptions", "--json").stdout) == []
    assert "\nsubscribers  none\n" in host.launch("status").stdout
    options = ("--serve", "-a", "127.0.0.1:0", "-n", "tcp", "--name", "pager", "-f", "o*", "--kind", "job.*")
    with subscribing(host, *options) as told:
        _, row = host.launch("subscriptions").stdout.splitlines()
        identifier, name, address, transport, state, behind, *rest = row.split()
        assert ID.fullmatch(identifier)
        assert (name, transport, state, rest) == ("pager", "tcp", "connected", ["o*", "kind=job.*", "-"])
        assert behind.isdecimal()
        (one,) = json.loads(host.launch("subscriptions", "--json").stdout)
        assert (one["id"], one["address"], one["patterns"], one["kinds"]) == (identifier, address, ["o*"], ["job.*"])
        assert not {"secret", "fingerprint"} & one.keys()
        assert f"\nsubscriber  pager at tcp {address}, connected" in host.launch("status").stdout
        told.end()
    host.wait_for(
        lambda: "nobody listens there" in host.launch("subscriptions").stdout, what="the reason why it is not reached"
    )
    assert "connecting, not reached for " in host.launch("subscriptions").stdout


def test_an_unknown_subscription_is_named_and_the_others_are_ended(host: Host) -> None:
    """[D36]"""
    with subscribing(host, "--serve", "-a", "127.0.0.1:0", "--name", "pager"):
        refused = host.launch("unsubscribe", "nobody", "pager", check=False)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr == "launch: there is no subscription 'nobody'\n"
        assert json.loads(host.launch("subscriptions", "--json").stdout) == []


def event_of(kind: str, label: str | None = None, host: str = "a", **data: Any) -> relaunch.Event:
    """An event that somebody tells."""
    again = bool(data.pop("again", False))
    source = f"//{host}/relaunch/1000"
    return relaunch.Event(
        source=source, epoch="e", sequence=1, kind=kind, label=label, at=0.5, data=data, redelivered=again
    )


def waits(*labels: str) -> dict[str, Any]:
    return {"for": list(labels)}


def words(*events: relaunch.Event) -> list[str]:
    lines = Lines()
    shown = "".join(map(lines.take, events)) + lines.rest()
    return [line[25:] for line in shown.splitlines()]


@pytest.mark.parametrize(
    ("event", "shown"),
    [
        (event_of("job.exited", "p", reason="exited", code=3, pid=7), "a  p exited, code 3, pid 7"),
        (
            event_of("job.exited", "p", reason="crashed", signal="SEGV", core_dumped=True, restart_in_s=9, again=True),
            "a  p crashed, signal SEGV (core dumped), starts again in 9s (again)",
        ),
        (event_of("job.exited", "p", reason="unknown", restart_in_s=0.0), "a  p ended, nobody knows how, starts again"),
        (event_of("job.start-failed", "p", message="program x: no"), "a  p could not be started, program x: no"),
        (
            event_of("job.failed", "p", restarts=3, within_s=60.0),
            "a  p has failed, started again 3 times within 1m0s, not started any more",
        ),
        (event_of("job.starting", "p", cause="calendar"), "a  p is started, at a time of its calendar"),
        (event_of("job.starting", "p", cause="whim"), "a  p is started, whim"),
        (event_of("job.waiting", "p", **waits()), "a  p waits for what starts it"),
        (event_of("job.waiting", "p", **waits("db", "disk")), "a  p waits for db disk"),
        (event_of("job.ready", "p", pid=7, after_s=0.34), "a  p is ready, after 0.3 s, pid 7"),
        (event_of("job.not-ready", "p", pid=7, after_s=5.0), "a  p is still not ready, after 5.0 s, pid 7"),
        (event_of("job.unloaded", "p"), "a  p was unloaded"),
        (event_of("job.stopping", "p", pid=7, why="stopped"), "a  p job.stopping, pid 7, stopped"),
        (event_of("launcher.restarted", pid=7, died=9), "a  launcher died and was started again, pid 7"),
        (event_of("launcher.restarted", pid=7, died=None), "a  launcher was replaced, pid 7"),
        (event_of("launcher.lost", certain=True), "a  launcher has ended"),
        (event_of("host.suspect", silent_s=3.14, together=1), "a  suspected, not heard for 3.1 s"),
        (event_of("host.lost", silent_s=9.0, together=1), "a  lost?, not heard for 9.0 s"),
        (event_of("host.back", silent_s=0.0), "a  back"),
        (event_of("host.rebooted"), "a  has rebooted"),
        (event_of("stream.gap", first=2, last=5), "a  events 2 to 5 were compacted away before they could be told"),
        (event_of("stream.reset"), "a  the journal is another one; what the last one had yet to tell is lost"),
        (
            event_of("stream.snapshot", jobs=[{"state": "running"}, {"state": "exited"}, {"state": "running"}]),
            "a  jobs now: 1 exited, 2 running",
        ),
        (event_of("stream.snapshot", jobs="none"), "a  stream.snapshot"),
        (event_of("stream.gap"), "a  stream.gap"),
        (event_of("job.exited", "p", restart_in_s="soon"), "a  job.exited p"),
        (event_of("a\x1b[2J", "p\n", host="h\x07", x=1), "h\\x07  p\\n a\\x1b[2J"),
        (event_of("job.exited", "p", reason="exited", message="\x9b1m\u202e\udc9b"),
         "a  p exited, \\u009b1m\\u202e\\x9b"),
    ],
)  # fmt: skip
def test_an_event_is_one_line_whatever_it_holds(event: relaunch.Event, shown: str) -> None:
    """[D30]"""
    assert words(event) == [shown]


def test_a_line_has_an_end() -> None:
    """[D30]"""
    (line,) = words(event_of("job.start-failed", "p", message="x" * 10_000))
    assert len(line) < 2_000


def suspicion(number: int, group: str = "g", together: int = 20) -> relaunch.Event:
    return event_of(
        "host.suspect", host=f"n{number}", together=together, number=number, group=group, silent_s=3.0 + number / 100
    )


def test_hosts_that_fall_silent_together_are_one_line() -> None:
    """[D30] [D10]"""
    named = ", ".join(f"n{number}" for number in range(1, 9))
    line = f"20 hosts suspected, not heard for 3.2 s: {named} ... and 12 more"
    assert words(*(suspicion(number) for number in range(1, 21))) == [line]


def test_what_comes_between_is_told_at_once_and_a_group_that_is_not_complete_is_told_too() -> None:
    """[D30]"""
    other = event_of("job.exited", "p", reason="exited", code=1)
    assert words(suspicion(1, together=3), other, suspicion(2, "h", 2), suspicion(2, together=3)) == [
        "a  p exited, code 1",
        "2 hosts suspected, not heard for 3.0 s: n1, n2",
        "n2  suspected, not heard for 3.0 s",
    ]


def test_a_command_is_told_what_an_event_says_and_no_more_than_a_kernel_takes() -> None:
    """[D32]"""
    told = environment(
        event_of("job.exited", "p", reason="crashed", signal="KILL", code=None, message="a\0\udc9b" * 9_999)
    )
    assert {name.decode(): value for name, value in told.items() if name != b"LAUNCH_EVENT_MESSAGE"} == {
        "LAUNCH_EVENT_KIND": b"job.exited",
        "LAUNCH_EVENT_ID": b"e/1",
        "LAUNCH_EVENT_SOURCE": b"//a/relaunch/1000",
        "LAUNCH_EVENT_HOST": b"a",
        "LAUNCH_EVENT_TIME": b"1970-01-01T00:00:00.500000Z",
        "LAUNCH_EVENT_LABEL": b"p",
        "LAUNCH_EVENT_REASON": b"crashed",
        "LAUNCH_EVENT_SIGNAL": b"KILL",
    }
    assert len(told[b"LAUNCH_EVENT_MESSAGE"]) < 20_000


def test_every_kind_that_is_journaled_is_known(host: Host) -> None:
    """[D34]"""
    with subscribing(host, "--serve", "-a", "127.0.0.1:0") as told:
        host.launch("submit", "-l", "p1", "--keep-alive", "-p", "true")
        host.launch("restart", "p1")
        host.launch("stop", "p1")
        host.launch("submit", "-l", "bad", "-p", "/nonexistent", check=False)
        told.end()
    kinds = {event["type"].removeprefix("io.relaunch.") for event in host.events()}
    assert {"job.starting", "subscription.begun", "subscription.ended"} <= kinds <= set(KINDS)
    assert checked_kinds(["io.relaunch.job.exited", "host.*", "all"]) == ("job.exited", "host.*", "all")


# relaunch.subscribe


@pytest.mark.parametrize("serve", [{}, {"serve": "127.0.0.1:0", "transport": "tcp"}])
def test_a_program_is_told_and_goes_on_after_what_it_acknowledged(
    host: Host, monkeypatch: pytest.MonkeyPatch, serve: dict[str, Any]
) -> None:
    """[D33] [D3]"""
    for name, value in host.env.items():
        monkeypatch.setenv(name, value)

    async def take(*labels: str, ack: bool = True) -> list[tuple[str | None, bool]]:
        async with relaunch.subscribe("p*", kinds=["job.exited"], name="program", **serve) as events:
            for label in labels:
                await asyncio.to_thread(ends, host, label)
            taken = []
            async for event in events:
                taken.append((event.label, event.redelivered))
                if len(taken) == 2:
                    break
            if ack:
                await events.ack()
            return taken

    assert asyncio.run(take("p1", "q1", "p2", "p3")) == [("p1", False), ("p2", False)]
    assert asyncio.run(take("p4", ack=False)) == [("p3", False), ("p4", False)]
    assert asyncio.run(take("p5")) == [("p4", True), ("p5", False)]


@pytest.mark.parametrize("serve", [{}, {"serve": "127.0.0.1:0", "transport": "tcp"}])
def test_waiting_can_be_given_up_and_taken_up_again(
    host: Host, monkeypatch: pytest.MonkeyPatch, serve: dict[str, Any]
) -> None:
    """[D29] [D35]"""
    for name, value in host.env.items():
        monkeypatch.setenv(name, value)

    async def main() -> list[str | None]:
        async with relaunch.subscribe(kinds=["job.exited"], **serve) as events:
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(events), 0.05)
            await asyncio.to_thread(ends, host, "p1")
            first = await anext(events)
            os.kill(host.launcher_pid, signal.SIGKILL)
            await asyncio.to_thread(ends, host, "p2")
            return [first.label, (await anext(events)).label]

    assert asyncio.run(main()) == ["p1", "p2"]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"kinds": ["job.gone"]}, BadCall),
        ({"kinds": ["["]}, BadPattern),
        ({"name": "a/b"}, BadSpec),
        ({"since": 1, "since_at": 1.0}, BadCall),
        ({"transport": "tcp"}, BadCall),
        ({"serve": ":0", "transport": "udp"}, BadCall),
        ({"suspect_after_s": 1.0}, BadCall),
        ({"serve": ":0", "suspect_after_s": 0.1}, BadCall),
        ({"serve": "a b"}, Usage),
    ],
)
def test_what_cannot_be_meant_is_refused_before_it_is_entered(options: dict[str, Any], error: type[Exception]) -> None:
    """[D34]"""
    with pytest.raises(error):
        relaunch.subscribe(**options)
    with pytest.raises(BadPattern):
        relaunch.subscribe("[")


def test_a_subscriber_is_entered_first_and_needs_a_launcher(place: Host) -> None:
    """[D34]"""

    async def main(serve: str | None) -> None:
        subscriber = relaunch.subscribe(path=f"{place.place}/nowhere.sock", serve=serve)
        with pytest.raises(BadCall):
            await anext(subscriber)
        with pytest.raises(NoLauncher):
            await subscriber.__aenter__()

    asyncio.run(main(None))
    asyncio.run(main("127.0.0.1:0"))
