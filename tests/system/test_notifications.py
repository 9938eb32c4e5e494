"""No death is lost and none told twice, whoever is killed or stopped meanwhile (D1 to D4, D8)."""

import os
import signal

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


@pytest.mark.timeout(240)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_burst_survives_the_deaths_of_launcher_and_subscriber(host: Host, transport: str) -> None:
    """D2, D3, D4: both are killed among 2,000 deaths; the next subscriber of that name goes on in its place."""
    first = _serve(host, "--name", "burst", "-n", transport)
    pids = start(host, DEATHS)
    kill(list(pids.values())[: DEATHS // 2])
    first.wait_for("job.exited", DEATHS // 20)
    os.kill(host.launcher_pid, signal.SIGKILL)
    kill(list(pids.values())[DEATHS // 2 :])
    first.wait_for("job.exited", DEATHS // 4)
    assert first.end(signal.SIGKILL) == -signal.SIGKILL
    second = _serve(host, "--name", "burst", "-n", transport)
    host.wait_for(
        lambda: len({event["subject"] for event in (*first.of("job.exited"), *second.of("job.exited"))}) == DEATHS,
        120,
        "every death",
    )
    check_once([*first.of("job.exited"), *second.of("job.exited")], list(pids))
    assert len([event for event in second.events if event.get("redelivered")]) <= 1
    assert second.end() == 0
    assert host.launch("unsubscribe", "burst").returncode == 0


@pytest.mark.timeout(180)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_stopped_subscriber_misses_nothing_and_holds_up_nobody(host: Host, transport: str) -> None:
    """D8: 2,000 deaths while it is stopped; another one hears of all meanwhile, and jobs start and stop as ever."""
    stopped, other = _serve(host, "-n", transport), _serve(host, "-n", transport)
    pids = start(host, DEATHS)
    stopped.process.send_signal(signal.SIGSTOP)
    kill(list(pids.values()))
    check_once(other.wait_for("job.exited", DEATHS, 120), list(pids))
    host.launch("run", "--", "true")
    assert len(stopped.of("job.exited")) < DEATHS
    stopped.process.send_signal(signal.SIGCONT)
    told = [event for event in stopped.wait_for("job.exited", DEATHS + 1, 120) if event["subject"] in pids]
    check_once(told, list(pids))
    assert not stopped.of("host.lost")
    for one in (stopped, other):
        assert one.end() == 0
