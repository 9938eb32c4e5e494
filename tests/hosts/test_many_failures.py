"""``launch -H HOSTS COMMAND`` where something is wrong with some hosts: each says what, and holds up no other."""

import os
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest
from tests.hosts.commanding import Client
from tests.hosts.conftest import ConnectSsh
from tests.hosts.sshd import Sshd, SshNetwork
from tests.system.launcher_host import wait_for

from relaunch.client.forwards import stem_of
from relaunch.client.masters import Master

SOURCE = Path(__file__).resolve().parents[2] / "src"
# The environment of the tests may be open to one user only.
LAUNCH_OF_ANYBODY = f"""export PYTHONPATH={SOURCE} PYTHONDONTWRITEBYTECODE=1
exec /usr/bin/python3 -c 'from relaunch.cli.entry import main; main()' "$@\""""
OTHER_VERSION = """printf '{"relaunch":"9.0.0","host":"x","client":null,"socket":"/x"}\\0'; sleep 1"""


def test_every_failure_is_its_own_line_and_others_are_well(connect_ssh: ConnectSsh) -> None:
    """[R3] [R6] [R9] [R10]"""
    network = connect_ssh(
        Sshd(), Sshd(installed=False), Sshd(), Sshd(), Sshd(launch=OTHER_VERSION), Sshd(), Sshd(forwards=False), Sshd()
    )
    client = Client(network, "host[1-8]")
    for number in (0, 3, 6, 7):
        network.ssh_hosts[number].serve()
    network.ssh_hosts[3].cut()
    network.ssh_hosts[5].kill_sshd()
    network.write_config("Host host8", " UserKnownHostsFile /dev/null")
    done = client.launch("--timeout", "4", "-H", client.hosts, "submit", "-l", "p1", "--", "sleep", "120", status=4)
    assert done.stdout == "host[1,7]: p1: running\n"
    lines = sorted(done.stderr.splitlines())
    parts = {
        "host2": "finds no launch",
        "host3": "no launcher runs there; start it with: launch -H host3 serve",
        "host4": "within 4 seconds; nothing was asked of it",
        "host5": "version 9.0.0",
        "host6": "no connection (",
        "host8": "its key was not accepted",
    }
    assert len(lines) == len(parts)
    for line, (host, part) in zip(lines, parts.items(), strict=True):
        assert line.startswith(f"launch: {host}: ")
        assert part in line
    answers = client.answers("list", status=4)
    names = {name: answer["error"]["name"].rpartition(".")[2] for name, answer in answers.items() if "error" in answer}
    assert names == {
        "host2": "NotInstalled",
        "host3": "NoLauncher",
        "host4": "TimedOut",
        "host5": "OtherVersion",
        "host6": "HostUnreachable",
        "host8": "HostKeyRefused",
    }


def test_one_way_to_fail_has_its_own_status_and_one_line(connect_ssh: ConnectSsh) -> None:
    """[R9] [R10]"""
    network = connect_ssh(*(Sshd(installed=False),) * 3)
    client = Client(network, "host[1-3]")
    said = client.over("list", status=3)
    assert said.startswith("launch: host[1-3]: its login shell finds no launch")
    assert "`ssh HOST launch`" in said
    assert said.count("\n") == 1
    assert client.over("serve", status=3).startswith("launch: host[1-3]: its login shell finds no launch")


def test_a_host_that_needs_to_be_told_something_is_named(five: SshNetwork) -> None:
    """[R3] [R9]"""
    five.write_config("Host host2 host3", " PubkeyAuthentication no")
    said = Client(five, "host[1-3]").over("list", status=4)
    assert "launch: host2: ssh could not log in" in said
    assert "launch: host3: ssh could not log in" in said
    assert said.count("ssh-add") == 2


def test_a_slow_login_with_a_banner_and_a_host_without_forwarding_answer_too(connect_ssh: ConnectSsh) -> None:
    """[R6] [R16]"""
    network = connect_ssh(Sshd(slow_s=1.5), Sshd(forwards=False), Sshd())
    network.serve()
    client = Client(network, "host[1-3]")
    for _ in range(3):
        assert set(client.answers("status")) == {"host1", "host2", "host3"}
    client.over("submit", "-l", "p1", "--", "sleep", "120")
    assert client.over("stop", "p1") == "host[1-3]: p1: stopped (TERM)\n"


def test_a_server_that_is_busy_is_asked_again(connect_ssh: ConnectSsh) -> None:
    """[R6]"""
    network = connect_ssh(Sshd(options=("MaxStartups 10:30:100",)))
    network.serve()
    address = network.ssh_hosts[0].address
    blocks = [f"Host alias{i}\n HostName {address}\n HostKeyAlias host1" for i in range(1, 17)]
    network.write_config(*blocks)
    assert len(Client(network, "alias[1-16]").answers("status")) == 16


def ssh_pids(network: SshNetwork, name: str) -> set[int]:
    """Every ssh of the client that goes to a host."""
    stem, found = stem_of(name), set[int]()
    for pid in network.masters():
        with suppress(OSError):
            if stem in Path(f"/proc/{pid}/cmdline").read_text():
                found.add(pid)
    return found


def cut_masters(network: SshNetwork, name: str) -> None:
    """Kill every ssh to a host."""
    for pid in ssh_pids(network, name):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_a_submit_whose_answer_is_lost_is_asked_again_and_starts_nothing_twice(five: SshNetwork) -> None:
    """[R12] [S26]"""
    client = Client(five, "host[1-3]")
    *others, host = five.ssh_hosts[:3]
    os.kill(pid := host.launcher_pid, signal.SIGSTOP)
    try:
        with client.popen("-H", client.hosts, "submit", "-l", "lost", "--", "sleep", "120") as process:
            wait_for(lambda: host.bridges() and all("lost" in one.jobs() for one in others))
            # Once it is known that a forward is of no use now, what was asked lies in the launcher's socket.
            wait_for(
                lambda: (known := Master.of(host.name).read()) and known.how, what="what is known of the way there"
            )
            cut_masters(five, host.name)
            os.kill(pid, signal.SIGCONT)
            out, err = process.communicate(timeout=45)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert (out, err, process.returncode) == ("host[1-3]: lost: running\n", "", 0)
    kinds = [[event["type"].removeprefix("io.relaunch.") for event in one.events("lost")] for one in (*others, host)]
    assert kinds == [["job.submitted", "job.started"]] * 3


def test_an_outcome_that_stays_unknown_is_said(five: SshNetwork) -> None:
    """[R12] [W7]"""
    client = Client(five, "host[1-3]")
    os.kill(pid := five.ssh_hosts[2].launcher_pid, signal.SIGSTOP)
    try:
        # Over a new connection there is none that could be found to be stuck before anything is asked.
        done = client.launch("--timeout", "8", "-H", client.hosts, "submit", "-l", "p1", "--", "sleep", "120", status=4)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert done.stdout == "host[1-2]: p1: running\n"
    assert done.stderr.startswith("launch: host3: Submit was sent")
    assert "whether it was done is unknown; look with: launch -H host3 list" in done.stderr


def test_a_host_cut_off_while_a_submit_is_under_way_is_unknown_and_none_runs_twice(five: SshNetwork) -> None:
    """[R12] [W7]"""
    client = Client(five, "host[1-2]")
    host = five.ssh_hosts[1]
    os.kill(pid := host.launcher_pid, signal.SIGSTOP)
    try:
        with client.popen("--timeout", "12", "-H", client.hosts, "submit", "-l", "p1", "--", "sleep", "120") as process:
            # A socket is forwarded once the submit has left.
            forwards = f"{stem_of(host.name)}.*.sock"
            wait_for(lambda: list(five.directory.glob(forwards)) and "p1" in five.ssh_hosts[0].jobs())
            host.cut()
            os.kill(pid, signal.SIGCONT)
            out, err = process.communicate(timeout=45)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert (out, process.returncode) == (
        "host1: p1: running, pid " + str(five.ssh_hosts[0].job("p1")["pid"]) + "\n",
        4,
    )
    assert "host2: " in err
    assert "unknown" in err
    assert len([job for job in host.jobs() if job == "p1"]) <= 1
    host.heal()


def test_a_change_that_cannot_be_repeated_is_unknown_when_its_answer_is_lost(five: SshNetwork) -> None:
    """[R12] [W7]"""
    client, hosts = Client(five, "host[1-2]"), five.ssh_hosts[:2]
    client.over(
        "submit", "-l", "p1", "--stop-timeout", "0", "--", "sh", "-c", "trap '' TERM; while :; do sleep 1; done"
    )
    client.over("list")
    with client.popen("-H", client.hosts, "stop", "p1") as process:
        for host in hosts:
            wait_for(lambda: all(one.job("p1")["state"] == "stopping" for one in hosts))
            cut_masters(five, host.name)
        _, err = process.communicate(timeout=45)
    client.over("kill", "p1")
    assert process.returncode == 3
    assert "host[1-2]: the connection to HOST was lost before it answered Stop: whether it was done is unknown" in err


def test_launchers_of_other_users_are_out_of_reach(connect_ssh: ConnectSsh) -> None:
    """[R4] [W4]"""
    with tempfile.TemporaryDirectory(prefix="rl-", dir="/tmp") as home:
        os.chown(home, 2001, 2001)
        network = connect_ssh(Sshd(user=("other", 2001, home), launch=LAUNCH_OF_ANYBODY))
        # The key that may log in is read, and launch executed, as that user.
        for place in (network.client, network.ssh_hosts[0].place):
            place.chmod(0o711)
        client, other = Client(network, "root@host1"), Client(network, "other@host1")
        network.write_config("Host host1", " ControlPath none")
        network.config.write_text(network.config.read_text().replace(" User root\n", ""))
        client.over("serve")
        client.over("submit", "-l", "p1", "--", "sleep", "120")
        assert "no launcher runs there" in other.over("list", status=3)
        other.over("serve")
        assert [answer["result"] for answer in other.answers("list").values()] == [[]]
        assert "p1" in other.over("stop", "p1", status=1)
        uids = [one.answers("status")[one.hosts]["result"]["uid"] for one in (client, other)]
        assert uids == [0, 2001]
        assert "running" in client.over("list")
        other.over("shutdown")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_leaves_nothing_behind(connect_ssh: ConnectSsh, number: signal.Signals) -> None:
    """[R15] [R7]"""
    network = connect_ssh(Sshd(), Sshd(slow_s=20.0), Sshd(), Sshd(forwards=False))
    network.serve()
    network.ssh_hosts[2].cut()
    client = Client(network, "host[1-4]")
    with client.popen("-H", client.hosts, "wait", "p*") as process:
        wait_for(lambda: len(network.masters()) >= 4, what="every ssh")
        began = time.monotonic()
        process.send_signal(number)
        assert process.wait(timeout=20) == -number
        assert time.monotonic() - began < 8
    client.launch("connections", "--close")
    wait_for(lambda: network.masters() == [], what="no ssh left")
    wait_for(lambda: network.ssh_hosts[0].bridges() + network.ssh_hosts[3].bridges() == [], what="no bridge left")


def test_no_more_are_asked_at_a_time_than_is_said(connect_ssh: ConnectSsh) -> None:
    """[R6]"""
    network = connect_ssh(*(Sshd(slow_s=0.4),) * 4)
    network.serve()
    client = Client(network, "host[1-4]")
    began = time.monotonic()
    client.launch("--fanout", "1", "-H", client.hosts, "list")
    assert time.monotonic() - began > 1.6
    client.launch("--fanout=2", "-H", client.hosts, "list")
    client.launch("--fanout", "2", "-H", client.hosts, "stop", "x", status=1)


def test_a_wait_ends_when_nobody_is_left_to_answer_it(connect_ssh: ConnectSsh) -> None:
    """[R12] The launcher goes while the job is waited for; the other host's answer is told all the same."""
    network = connect_ssh(Sshd(), Sshd(forwards=False))
    client = Client(network, "host[1-2]")
    for host in network.ssh_hosts:
        host.serve()
        host.launch("submit", "-l", "p1", "-p", "sleep", "120")
    with client.popen("-H", client.hosts, "wait", "p1") as waiting:
        try:
            wait_for(network.ssh_hosts[1].bridges, what="the bridge of the wait")
            network.ssh_hosts[1].launch("shutdown", "--leave-jobs")
            network.ssh_hosts[0].launch("stop", "p1")
            said = waiting.communicate(timeout=40)
        finally:
            waiting.kill()
    assert waiting.returncode not in (0, -signal.SIGKILL), said
    assert "host2" in said[1]
    network.ssh_hosts[1].serve()
