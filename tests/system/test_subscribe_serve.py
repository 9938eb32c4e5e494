"""``launch subscribe --serve``: it listens, the launcher connects out to it, and nothing is lost, whoever dies."""

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.launcher_host import DEADLINE_S, Host
from tests.system.subscribing import HOST, Subscribing, ends, subscribing

LOOPBACK = ("--serve", "-a", "127.0.0.1:0")
TRANSPORTS = ("tcp", "quic")


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("address", [":0", "127.0.0.1:0", "[::1]:0", "localhost:0", "0.0.0.0:0"])
def test_of_two_at_once_each_is_told_what_it_asked_for_up_to_the_end(host: Host, transport: str, address: str) -> None:
    """[D35] [D30] [D1]"""
    serve = ("--serve", "-a", address, "-n", transport)
    with subscribing(host, *serve) as everything, subscribing(host, *serve, "-f", "o*") as some:
        assert f" ({transport}), registered with " in everything.first
        for label in ("p1", "o1"):
            ends(host, label)
        host.launch("submit", "-l", "o2", "-p", "sleep", "120")
        host.launch("shutdown")
        ended = [f"{HOST}  o2 was ended by a shutdown, signal TERM", f"{HOST}  launcher has ended"]
        for told, labels in ((everything, ["p1", "o1"]), (some, ["o1"])):
            for label in labels:
                assert told.line().startswith(f"{HOST}  {label} exited, code 3, pid ")
            assert [",".join(told.line().split(",")[:2]) for _ in ended] == ended
            assert told.end() == ("", "")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_nothing_is_left_out_or_told_twice_when_the_launcher_is_killed(host: Host, transport: str) -> None:
    """[D35] [D4]"""
    with subscribing(host, *LOOPBACK, "-n", transport, "--json", "--kind", "job.exited") as told:
        labels = [f"p{number}" for number in range(6)]
        for label in labels:
            ends(host, label)
            os.kill(host.launcher_pid, signal.SIGKILL)
        assert [told.event()["subject"] for _ in labels] == labels
        assert told.end()[0] == ""


def test_a_name_goes_on_where_it_was_killed(host: Host) -> None:
    """[D33] [D3] [D4]"""
    with subscribing(host, *LOOPBACK, "--name", "pager") as told:
        ends(host, "p1")
        assert told.line().startswith(f"{HOST}  p1 exited")
        told.end()
    assert [one["name"] for one in _subscriptions(host)] == ["pager"]
    ends(host, "p2")
    with subscribing(host, *LOOPBACK, "--name", "pager", "--exec", "kill -KILL $PPID") as told:
        assert told.line().startswith(f"{HOST}  p2 exited")
        assert told.process.wait(DEADLINE_S) == -signal.SIGKILL
    ends(host, "p3")
    with subscribing(host, *LOOPBACK, "--name", "pager", "--json") as told:
        events = [told.event() for _ in range(2)]
        assert [(event["subject"], event.get("redelivered")) for event in events] == [("p2", True), ("p3", None)]
        refused = host.launch("subscribe", *LOOPBACK, "--name", "pager", check=False)
        assert refused.returncode == 1
        assert "in use" in refused.stderr
        told.end()
    assert len(_subscriptions(host)) == 1
    assert host.launch("unsubscribe", "pager").stdout.endswith(": ended\n")
    assert not _subscriptions(host)


def _subscriptions(host: Host) -> list[dict[str, object]]:
    subscribers: list[dict[str, object]] = host.status()["subscribers"]
    return subscribers


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_without_a_name_ends_at_the_launcher_too(host: Host, number: int) -> None:
    """[D31]"""
    with subscribing(host, *LOOPBACK) as told:
        assert len(_subscriptions(host)) == 1
        told.end(number)
    assert not _subscriptions(host)


def test_a_count_ends_it(host: Host) -> None:
    """[D31]"""
    with subscribing(host, *LOOPBACK, "-n", "2", "-n", "tcp", "-f", "p*") as told:
        for label in ("p1", "p2", "p3"):
            ends(host, label)
        assert told.process.wait(DEADLINE_S) == 0
        assert [told.line().split(",")[0] for _ in range(2)] == [f"{HOST}  p1 exited", f"{HOST}  p2 exited"]
    assert not _subscriptions(host)


def test_what_was_before_can_be_told_too(host: Host) -> None:
    """[D35]"""
    ends(host, "p1")
    with subscribing(host, *LOOPBACK, "--since", "0", "-f", "p*") as told:
        assert told.line().startswith(f"{HOST}  launcher started")
        assert told.line().startswith(f"{HOST}  p1 exited")
        told.end()


def test_a_launcher_that_has_forgotten_it_is_told_again(host: Host) -> None:
    """[D35] [D6]"""
    with subscribing(host, *LOOPBACK, "--json", "--kind", "job.exited", "--kind", "launcher.lost") as told:
        ends(host, "p1")
        host.launch("shutdown")
        assert told.kinds(2) == ["job.exited", "launcher.lost"]
        (host.state / "journal.db").unlink()
        host.serve()
        host.wait_for(lambda: [one for one in _subscriptions(host) if one["state"] == "connected"])
        ends(host, "p2")
        assert told.kinds(2) == ["stream.reset", "job.exited"]
        told.end()


def test_one_that_is_unsubscribed_ends_and_stays_so(host: Host) -> None:
    """[D36]"""
    with subscribing(host, *LOOPBACK) as told:
        (one,) = _subscriptions(host)
        host.launch("unsubscribe", str(one["id"]))
        assert told.said() == "launch: the subscription was ended by: launch unsubscribe\n"
        assert told.process.wait(DEADLINE_S) == 1
    assert not _subscriptions(host)


def test_a_command_that_fails_holds_the_place_over_the_end(host: Host, tmp_path: Path) -> None:
    """[D32] [D33]"""
    command = f"cat >> {tmp_path}/seen; test -e {tmp_path}/well || exit 7"
    with subscribing(host, *LOOPBACK, "--name", "pager", "--exec", command) as told:
        ends(host, "p1")
        ends(host, "p2")
        assert told.said() == "launch: --exec for job.exited p1: it exited with 7; it is run again in 1 s\n"
        assert told.end()[0].count("\n") == 1
    (tmp_path / "well").touch()
    with subscribing(host, *LOOPBACK, "--name", "pager", "--exec", command, "-n", "2") as told:
        assert told.process.wait(DEADLINE_S) == 0
        assert [told.line().split(",")[0] for _ in range(2)] == [f"{HOST}  p1 exited", f"{HOST}  p2 exited"]


def test_silence_is_told_as_a_suspicion_and_taken_back(host: Host) -> None:
    """[D30] [D10] [D11]"""
    with subscribing(host, *LOOPBACK, "--suspect-after", "0.5") as told:
        pid = host.launcher_pid
        host.wait_for(lambda: [one for one in _subscriptions(host) if one["state"] == "connected"])
        os.kill(pid, signal.SIGSTOP)
        try:
            assert told.line().startswith(f"{HOST}  suspected, not heard for ")
            # On a machine that keeps the subscriber itself waiting, it may have to take that back before. [D12]
            while not (line := told.line()).startswith(f"{HOST}  lost?, not heard for "):
                assert line.startswith((f"{HOST}  back", f"{HOST}  suspected")), line
        finally:
            os.kill(pid, signal.SIGCONT)
        assert told.line() == f"{HOST}  back"
        told.end()


@pytest.fixture
def taken() -> Iterator[dict[str, int]]:
    """A port of each transport that somebody else has."""
    with contextlib.ExitStack() as stack:
        ports = {}
        for transport, kind in (("tcp", socket.SOCK_STREAM), ("quic", socket.SOCK_DGRAM)):
            one = stack.enter_context(socket.socket(socket.AF_INET, kind))
            one.bind(("127.0.0.1", 0))
            if transport == "tcp":
                one.listen()
            ports[transport] = one.getsockname()[1]
        yield ports


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_address_that_cannot_be_listened_at_is_refused(host: Host, transport: str, taken: dict[str, int]) -> None:
    """[D34] [W6]"""
    for address in (f"127.0.0.1:{taken[transport]}", "192.0.2.1:9001", "no-such-host.invalid:9001"):
        refused = host.launch("subscribe", "--serve", "-n", transport, "-a", address, check=False)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert address.partition(":")[0] in refused.stderr
        assert refused.stderr.count("\n") == 1
    assert not _subscriptions(host)


@pytest.mark.parametrize("address", ["127.0.0.1:65536", "9001", "::1:x", "[::1", "a b:9001", "127.0.0.1:"])
def test_what_is_no_address_is_refused(host: Host, address: str) -> None:
    """[D34] [W6]"""
    refused = host.launch("subscribe", "--serve", "-a", address, check=False)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.count("\n") == 1
    assert "address" in refused.stderr


def test_without_a_launcher_it_does_not_listen(place: Host) -> None:
    """[D34] [W6]"""
    refused = place.launch("subscribe", *LOOPBACK, "--name", "pager", check=False)
    assert refused.returncode == 3
    assert "launch serve" in refused.stderr
    assert not place.state.exists()


def test_a_launcher_that_is_away_at_the_end_holds_nobody_up(host: Host) -> None:
    """[D31]"""
    with subscribing(host, *LOOPBACK) as told:
        host.launch("shutdown")
        assert told.line() == f"{HOST}  launcher has ended"
        assert told.end() == ("", "")


def test_the_first_line_names_the_port_that_was_taken(host: Host) -> None:
    """[D35]"""
    one = Subscribing(host, "--serve", "-a", "127.0.0.1:0", "--transport", "tcp")
    port = int(one.first.split(" ")[3].rpartition(":")[2])
    socket.create_connection(("127.0.0.1", port)).close()
    one.end()
