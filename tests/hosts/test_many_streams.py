"""``launch -H HOSTS logs`` and ``run``: output of many hosts in one stream, signals to all of them."""

import signal
import time

import pytest
from tests.hosts.commanding import Client
from tests.hosts.conftest import ConnectSsh
from tests.hosts.sshd import Sshd, SshNetwork
from tests.system.launcher_host import wait_for

NAMES = [f"host{number}" for number in range(1, 6)]


@pytest.fixture
def network(connect_ssh: ConnectSsh) -> SshNetwork:
    """Five hosts with launchers; one forwards no sockets."""
    network = connect_ssh(*(Sshd(),) * 4, Sshd(forwards=False))
    network.serve()
    return network


def test_output_comes_in_whole_lines_each_after_its_host(five: SshNetwork) -> None:
    """[R13]"""
    client = Client(five)
    script = "for i in $(seq 2000); do printf 'a line of {host} that is '; echo whole $i; done; printf 'no end'"
    client.over("submit", "-l", "{host}/lines", "--", "sh", "-c", script)
    client.over("wait", "*/lines")
    for options in (["logs"], ["logs", "-f"]):
        lines = client.over(*options, "{host}/lines").splitlines()
        for name in NAMES:
            mine = [line.removeprefix(f"{name}: ") for line in lines if line.startswith(f"{name}: ")]
            assert mine == [*(f"a line of {name} that is whole {i}" for i in range(1, 2001)), "no end"]
    assert sorted(client.over("logs", "-n", "1", "{host}/lines").splitlines()) == [f"{name}: no end" for name in NAMES]
    said = client.over("logs", "host1/lines", status=4)
    assert said.count("no end") == 1
    assert said.count("launch: host") == 4


def test_no_host_waits_for_another_that_says_much(five: SshNetwork) -> None:
    """[R13]"""
    client = Client(five)
    client.over(
        "submit", "-l", "much", "--", "sh", "-c", "[ {index} = 1 ] && exec yes; while sleep 0.1; do echo quiet; done"
    )
    with client.popen("-H", client.hosts, "logs", "-f", "much") as following:
        assert following.stdout is not None
        heard, lines = set[str](), 0
        while len(heard) < 5 or lines < 10_000:
            host, _, rest = following.stdout.readline().partition(": ")
            assert rest in ("y\n", "quiet\n")
            heard.add(host)
            lines += 1
        following.send_signal(signal.SIGINT)
        following.stdout.read()
        assert following.wait() == -signal.SIGINT
    client.over("kill", "much")


def test_a_reader_that_goes_away_ends_it_quietly(five: SshNetwork) -> None:
    """[R13] [R15]"""
    client = Client(five)
    client.over("submit", "-l", "endless", "--", "yes")
    with client.popen("-H", client.hosts, "logs", "-f", "endless") as following:
        assert following.stdout is not None
        assert following.stderr is not None
        following.stdout.readline()
        following.stdout.close()
        assert following.wait(timeout=20) == -signal.SIGPIPE
        assert following.stderr.read() == ""
    client.over("kill", "endless")


def test_a_run_shows_its_output_and_ends_as_the_first_that_failed(network: SshNetwork) -> None:
    """[R13] [R10]"""
    client = Client(network)
    done = client.launch(
        "-H", client.hosts, "run", "--", "sh", "-c", "echo {host} says; exit $(({index} / 3 * 5))", status=5
    )
    assert sorted(done.stdout.splitlines()) == [f"{name}: {name} says" for name in NAMES]
    assert done.stderr.count(" ended: code 5\n") == done.stderr.count("\n") == 3
    labels = {label for host in network.ssh_hosts for label in host.jobs()}
    assert len(labels) == 1
    assert client.over("run", "-l", "x", "--", "true") == ""
    assert client.over("run", "-l", "x", "--", "echo", "one").count("one") == 5
    assert client.over("run", "-l", "x", "--", "echo", "two").count("one") == 0
    network.ssh_hosts[1].launch("submit", "-l", "y", "--", "sleep", "120")
    assert client.over("run", "-l", "y", "--", "true", status=4).startswith("launch: host2: label y is in use")
    said = client.over("run", "--", "sh", "-c", "kill -KILL $$", status=137)
    assert said.count(" ended: KILL") == 5
    assert client.over("run", "--", "/no/such", status=1).count("launch: host") == 5


def test_signals_are_passed_on_to_every_job(five: SshNetwork) -> None:
    """[R13]"""
    client = Client(five)
    script = "trap 'echo got it; exit 3' INT; echo ready; while :; do sleep 0.05; done"
    with client.popen("-H", client.hosts, "run", "-l", "p1", "--", "sh", "-c", script) as running:
        assert running.stdout is not None
        assert {running.stdout.readline() for _ in NAMES} == {f"{name}: ready\n" for name in NAMES}
        running.send_signal(signal.SIGINT)
        assert {running.stdout.readline() for _ in NAMES} == {f"{name}: got it\n" for name in NAMES}
        assert running.wait(timeout=20) == 3


def test_a_job_runs_on_where_its_host_is_lost_and_the_others_end_well(five: SshNetwork) -> None:
    """[R13] [W7]"""
    client = Client(five)
    lost = five.ssh_hosts[3]
    client.over("list")
    with client.popen(
        "--timeout", "5", "-H", client.hosts, "run", "-l", "stays", "--", "sh", "-c", "echo ready; exec sleep 8"
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert {running.stdout.readline() for _ in NAMES} == {f"{name}: ready\n" for name in NAMES}
        lost.cut()
        assert running.wait(timeout=50) == 4
        said = running.stderr.read()
    assert "the rest of the output is in: launch -H host4 logs stays" in said
    assert "for all that is known, stays runs on there" in said
    lost.heal()


def test_output_is_followed_over_a_launcher_that_is_replaced(network: SshNetwork) -> None:
    """[R13] [W7]"""
    client = Client(network)
    with client.popen("-H", client.hosts, "run", "-l", "p1", "--", "sh", "-c", "sleep 2; exit 4") as running:
        for host in network.ssh_hosts:
            wait_for(lambda: all("p1" in one.jobs() for one in network.ssh_hosts))
            host.launch("serve", "--replace")
        began = time.monotonic()
        assert running.wait(timeout=20) == 4
        assert time.monotonic() - began < 15
