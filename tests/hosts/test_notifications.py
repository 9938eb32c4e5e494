"""Failures are told over networks that lose packets, that are cut, and whose hosts vanish (D1 to D12)."""

import time

import pytest
from tests.hosts.conftest import Connect
from tests.hosts.network import NetworkHost
from tests.system.launcher_host import wait_for
from tests.system.told import Told, check_once, kill, start

TRANSPORTS = ["tcp", "quic"]
CUT_S = 60.0


def _told(near: NetworkHost, far: NetworkHost, *options: str) -> Told:
    """A subscriber on a host of its own; its subscription goes to the other's launcher."""
    return Told(near, "--serve", "-a", f"{near.address}:0", *options, launcher=far).ready()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("percent", [5, 30])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_each_death_is_told_once_whatever_the_network_loses(connect: Connect, transport: str, percent: int) -> None:
    """D1, D2, D4: 300 deaths over a network that loses packets both ways."""
    near, far = connect(2).hosts
    far.serve()
    told = _told(near, far, "-n", transport, "-f", "burst/*")
    pids = start(far, 300)
    near.lose(percent)
    far.lose(percent)
    kill(list(pids.values()))
    check_once(told.wait_for("job.exited", 300, 120), list(pids))
    near.heal()
    far.heal()
    assert told.end() == 0


@pytest.mark.timeout(180)
def test_what_happens_during_a_cut_of_a_minute_is_told_after_it(connect: Connect) -> None:
    """D9, D10, D11: silence is suspected, then told as lost, never for certain; after it nothing is missing."""
    near, far = connect(2).hosts
    far.serve()
    subscribers = [_told(near, far, "-n", transport) for transport in TRANSPORTS]
    pids = start(far, 100)
    kill(list(pids.values())[:50])
    for told in subscribers:
        told.wait_for("job.exited", 50)
    far.cut()
    cut_at = time.monotonic()
    kill(list(pids.values())[50:])
    for told in subscribers:
        (suspect,) = told.wait_for("host.suspect", 1)
        assert suspect["data"]["certain"] is False
    suspected_after_s = time.monotonic() - cut_at
    assert suspected_after_s < 6  # 3 s by itself; the machine may be busy
    for told in subscribers:
        (lost,) = told.wait_for("host.lost", 1)
        assert lost["data"]["certain"] is False
    wait_for(lambda: time.monotonic() - cut_at > CUT_S, CUT_S, "a cut of a minute")
    far.heal()
    for told in subscribers:
        check_once(told.wait_for("job.exited", 100, 45), list(pids))
        assert len(told.wait_for("host.back", 1)) == 1
        assert not told.of("launcher.lost")
        assert told.end() == 0


@pytest.mark.timeout(120)
def test_a_launcher_that_vanishes_with_its_host_comes_back_with_a_new_boot(connect: Connect) -> None:
    """D10, D11, D29: its socket, seen from here, has nobody; later its host was rebooted, its jobs ended somehow."""
    near, far = connect(2).hosts
    far.serve()
    told = _told(near, far, "-n", "tcp", "--suspect-after", "1")
    start(far, 3, "old")
    far.vanish()
    (lost,) = told.wait_for("launcher.lost", 1)
    assert lost["data"]["certain"] is True
    assert not told.of("host.rebooted")
    far.boot()
    far.heal()
    far.serve()
    (rebooted,) = told.wait_for("host.rebooted", 1)
    assert rebooted["data"]["certain"] is True
    ends = told.wait_for("job.exited", 3)
    assert {event["data"]["reason"] for event in ends} == {"unknown"}
    assert told.end() == 0
