"""No death is lost and none told twice, whoever is killed or stopped meanwhile (D1 to D4, D8)."""

import os
import signal
from functools import partial
from typing import Any

import pytest
from tests.system.launcher_host import Host
from tests.system.told import Told, check_once, kill, start

TRANSPORTS = ["tcp", "quic"]
DEATHS = 2_000


def _serve(host: Host, *options: str) -> Told:
    return Told(host, "--serve", "-a", "127.0.0.1:0", *options).ready()


def test_of_two_subscribers_one_hears_all_and_one_what_it_asked_for(host: Host) -> None:
    """D1: the session that started it all, eight jobs and two subscribers."""
    everything = _serve(host)
    some = Told(host, "--serve", "-a", "127.0.0.1:0", "-f", "o*").ready()
    labels = [f"{letter}{number}" for letter in "po" for number in range(1, 5)]
    for label in labels:
        host.launch("submit", "-l", label, "-p", "sleep", "120")
    for group in (["p1", "p2"], ["p3"], ["o1", "o2"], ["o3"], ["o4"]):
        host.launch("stop", *group)
    host.launch("shutdown")
    check_once(everything.wait_for("job.exited", 8), labels)
    check_once(some.wait_for("job.exited", 4), labels[4:])
    assert {event["subject"]: event["data"]["reason"] for event in everything.of("job.exited")} == {
        label: "shutdown" if label == "p4" else "stopped" for label in labels
    }
    for told in (everything, some):
        told.wait_for("launcher.lost", 1)
        assert told.end() == 0


def _sum(told: list[Told]) -> list[dict[str, Any]]:
    return [event for one in told for event in one.of("job.exited")]


def _is_complete(told: list[Told]) -> bool:
    return len({event["subject"] for event in _sum(told)}) == DEATHS


@pytest.mark.timeout(240)
def test_a_burst_survives_the_deaths_of_launcher_and_subscribers(host: Host) -> None:
    """D2, D3, D4: all are killed among 2,000 deaths; the next subscriber of a name goes on in the place of the last."""
    lives = {transport: [_serve(host, "--name", transport, "-n", transport)] for transport in TRANSPORTS}
    pids = start(host, DEATHS)
    kill(list(pids.values())[: DEATHS // 2])
    for (first,) in lives.values():
        first.wait_for("job.exited", DEATHS // 20)
    os.kill(host.launcher_pid, signal.SIGKILL)
    kill(list(pids.values())[DEATHS // 2 :])
    for transport, told in lives.items():
        told[0].wait_for("job.exited", DEATHS // 4)
        assert told[0].end(signal.SIGKILL) == -signal.SIGKILL
        told.append(_serve(host, "--name", transport, "-n", transport))
    for transport, told in lives.items():
        host.wait_for(partial(_is_complete, told), 120, "every death")
        check_once(_sum(told), list(pids))
        assert len([event for event in told[1].events if event.get("redelivered")]) <= 1
        assert told[1].end() == 0
        assert host.launch("unsubscribe", transport).returncode == 0


@pytest.mark.timeout(180)
def test_stopped_subscribers_miss_nothing_and_hold_up_nobody(host: Host) -> None:
    """D8: 2,000 deaths while they are stopped; another one hears of all meanwhile, and jobs start and stop as ever."""
    stopped, other = [_serve(host, "-n", transport) for transport in TRANSPORTS], _serve(host, "-n", "tcp")
    pids = start(host, DEATHS)
    for one in stopped:
        one.process.send_signal(signal.SIGSTOP)
    kill(list(pids.values()))
    check_once(other.wait_for("job.exited", DEATHS, 120), list(pids))
    host.launch("run", "--", "true")
    for one in stopped:
        assert len(one.of("job.exited")) < DEATHS
        one.process.send_signal(signal.SIGCONT)
    for one in stopped:
        told = [event for event in one.wait_for("job.exited", DEATHS + 1, 120) if event["subject"] in pids]
        check_once(told, list(pids))
        assert not one.of("host.lost")
    for one in (*stopped, other):
        assert one.end() == 0
