"""One ``launch subscribe`` for five hosts, which they connect to, or which follows them over ssh."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from tests.hosts.conftest import ConnectSsh
from tests.hosts.here import JOB_ENDS, MODES, Hearing, Here, fail, subscribers
from tests.hosts.sshd import Sshd, SshNetwork
from tests.system.launcher_host import wait_for

pytestmark = pytest.mark.timeout(150)
every_mode = pytest.mark.parametrize("mode", [pytest.param(mode, id=name) for name, mode in MODES.items()])
both_modes = pytest.mark.parametrize("mode", [pytest.param(MODES[name], id=name) for name in ("serve", "follow")])
SERVE = MODES["serve"]
DEFAULT_S = 3.0
BUSY_S = 4.0


@pytest.fixture
def network(five: SshNetwork) -> SshNetwork:
    return five


@pytest.fixture
def here(network: SshNetwork) -> Iterator[Here]:
    here = Here(network)
    try:
        yield here
    finally:
        here.end()


def everybody(network: SshNetwork, label: str) -> set[tuple[str, str]]:
    return {(host.name, label) for host in network.ssh_hosts}


@every_mode
def test_each_host_tells_of_its_jobs_and_an_interrupt_leaves_nothing_behind(
    network: SshNetwork, here: Here, mode: tuple[str, ...]
) -> None:
    """[R17] [R21]"""
    told = here.subscribe(network, *mode, *JOB_ENDS, "-f", "p*")
    assert told.first.endswith("registered with 5 hosts\n" if mode else "following the launchers of 5 hosts\n")
    for host in network.ssh_hosts:
        fail(host, "other")
        fail(host, "p1")
        addresses = [one["address"] for one in subscribers(host)]
        assert addresses == ([told.address] if mode else [])
    told.wait_for("job.exited", 5)
    begin = time.monotonic()
    assert told.end(signal.SIGINT) == 0
    assert time.monotonic() - begin < 5
    assert told.ends_of() == everybody(network, "p1")
    assert len(told.said) == 1
    assert [subscribers(host) for host in network.ssh_hosts] == [[]] * 5
    assert [host.bridges() for host in network.ssh_hosts] == [[]] * 5


@both_modes
def test_a_host_that_is_down_is_named_once_and_told_of_when_it_is_back(
    network: SshNetwork, here: Here, mode: tuple[str, ...]
) -> None:
    """[R18] [R19]"""
    down, *others = network.ssh_hosts
    down.launch("submit", "-l", "old", "-p", "sleep", "1000")
    down.vanish()
    down.kill_sshd()
    down.heal()
    begin = time.monotonic()
    told = here.subscribe(network, *mode)
    assert time.monotonic() - begin < 15
    assert " 4 of 5 hosts" in told.first
    for host in others:
        fail(host, "p1")
    told.wait_for("job.exited", 4)
    down.boot()
    down.start_sshd()
    down.launch("serve", "--background")
    (end,) = wait_for(lambda: told.from_host("job.exited", down), 40, f"what {down.name} has to tell: {told.said}")
    assert (end["subject"], end["data"]["reason"]) == ("old", "unknown")  # type: ignore[index]  # it is an object
    told.says(f"{down.name}: {'registered' if mode else 'followed'}")
    fail(down, "p1")
    told.wait_for("job.exited", 6)
    assert told.end() == 0
    assert told.ends_of("p1") == everybody(network, "p1")
    assert len([line for line in told.said if f"{down.name}: cannot be" in line or f"ssh: {down.name}" in line]) <= 1
    assert not told.of("host.suspect") + told.of("host.lost")


@both_modes
def test_a_host_without_a_launcher_is_named_once(network: SshNetwork, here: Here, mode: tuple[str, ...]) -> None:
    """[R18]"""
    idle = network.ssh_hosts[4]
    idle.launch("shutdown")
    told = here.subscribe(network, *mode, *JOB_ENDS)
    told.says(f"{idle.name}: no launcher runs there; start one with: ssh {idle.name} launch serve --background")
    runs = network.ssh_runs()
    idle.serve()
    told.says(f"{idle.name}: {'registered' if mode else 'followed'}", 40)
    assert network.ssh_runs() - runs < 30
    for host in network.ssh_hosts:
        fail(host, "p1")
    told.wait_for("job.exited", 5)
    assert told.end() == 0
    assert len([line for line in told.said if "no launcher" in line]) == 1


SENSELESS = """
import json, os, socket, sys
path, host = sys.argv[1:]
os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
journal = {"path": "", "epoch": "e", "last_sequence": 0, "compacted_to": 0, "size_bytes": 0}
status = {"version": "1", "host": host, "uid": 0, "keeper_pid": 1, "launcher_pid": 2, "launcher_starts": 1,
    "socket": path, "now": 0.0, "uptime_s": 1.0, "boot_id": "b", "jobs": {}, "journal": journal, "subscribers": []}
event = {"specversion": "1.0", "id": "e/1", "source": "//x/relaunch/0", "type": "io.relaunch.job.exited",
    "time": "about noon", "data": {}}
while True:
    client, _ = listener.accept()
    while asked := client.recv(65536):
        for call in asked.split(b"\\0")[:-1]:
            told = {"events": [event]} if b"Events" in call else {"status": status}
            client.sendall(json.dumps({"parameters": told, "continues": b"Events" in call}).encode() + b"\\0")
"""


def test_a_host_that_talks_nonsense_is_named_and_the_others_are_followed(connect_ssh: ConnectSsh) -> None:
    """[R18] Something there speaks the protocol, and says what makes no sense."""
    network = connect_ssh(Sshd(), Sshd())
    odd, sound = network.ssh_hosts
    sound.serve()
    path = f"{odd.env['XDG_RUNTIME_DIR']}/relaunch/launcher.sock"
    here = Here(network)
    with subprocess.Popen([*odd.enter, sys.executable, "-c", SENSELESS, path, odd.name]) as senseless:
        try:
            wait_for(lambda: os.path.exists(path), what="it listens")
            told = here.subscribe(network, *JOB_ENDS)
            told.says(f"{odd.name}: the launcher's answer is not what was asked for")
            for label in ("p1", "p2"):
                fail(sound, label)
            told.wait_for("job.exited", 2)
            assert told.end() == 0
            assert len(told.said) == 2, "what it does, and the one line"
        finally:
            senseless.kill()
            here.end()


@both_modes
def test_of_a_host_that_vanishes_is_told_in_time_and_of_no_other(
    network: SshNetwork, here: Here, mode: tuple[str, ...]
) -> None:
    """[R19] [D10] [D11]"""
    gone, *others = network.ssh_hosts
    gone.launch("submit", "-l", "old", "-p", "sleep", "1000")
    told = here.subscribe(network, *mode)
    # Without heartbeats it is ssh that notices, within ten seconds (R5).
    noticed_s = 0 if mode else 10
    gone.vanish()
    gone.kill_sshd()
    began = time.monotonic()
    (suspect,) = told.wait_for("host.suspect", 1)
    assert time.monotonic() - began < noticed_s + DEFAULT_S + BUSY_S
    for host in others:
        fail(host, "p1")
    (lost,) = told.wait_for("host.lost", 1)
    assert time.monotonic() - began < noticed_s + 3 * DEFAULT_S + BUSY_S
    assert {one["source"] for one in (suspect, lost)} == {f"//{gone.name}/relaunch/0"}
    assert {one["data"]["certain"] for one in (suspect, lost)} == {False}
    gone.boot()
    gone.heal()
    gone.start_sshd()
    gone.serve()
    (rebooted,) = told.wait_for("host.rebooted", 1)
    assert (rebooted["source"], rebooted["data"]["certain"]) == (f"//{gone.name}/relaunch/0", True)
    (end,) = wait_for(lambda: told.from_host("job.exited", gone))
    assert (end["subject"], end["data"]["reason"]) == ("old", "unknown")  # type: ignore[index]  # it is an object
    fail(gone, "p1")
    told.wait_for("job.exited", 6)
    assert told.end() == 0
    assert told.ends_of("p1") == everybody(network, "p1")
    assert [len(told.of(kind)) for kind in ("host.suspect", "host.lost", "launcher.lost")] == [1, 1, 0]


@both_modes
def test_a_launcher_that_is_killed_goes_on_and_one_that_ends_is_lost(
    network: SshNetwork, here: Here, mode: tuple[str, ...]
) -> None:
    """[R17] [R19]"""
    killed, shut, *_ = network.ssh_hosts
    told = here.subscribe(network, *mode)
    fail(killed, "p1")
    os.kill(killed.launcher_pid, signal.SIGKILL)
    fail(killed, "p2")
    shut.launch("shutdown")
    (lost,) = told.wait_for("launcher.lost", 1)
    assert (lost["source"], lost["data"]["certain"]) == (f"//{shut.name}/relaunch/0", True)
    told.wait_for("job.exited", 2)
    told.wait_for("launcher.restarted", 1)
    assert told.end() == 0
    assert told.ends_of() == {(killed.name, "p1"), (killed.name, "p2")}
    assert not told.of("host.suspect")


@both_modes
def test_a_name_goes_on_at_every_host_where_it_was_killed(
    network: SshNetwork, here: Here, mode: tuple[str, ...]
) -> None:
    """[R20] [D33] [D4]"""
    named = (*mode, "--name", "pager", *JOB_ENDS)
    told = here.subscribe(network, *named)
    for host in network.ssh_hosts:
        fail(host, "p1")
    told.wait_for("job.exited", 5)
    wait_for(lambda: told.process.poll() is None)
    assert told.end(signal.SIGKILL) == -signal.SIGKILL
    for host in network.ssh_hosts:
        fail(host, "p2")
    again = here.subscribe(network, *named)
    refused = here.launch("subscribe", *named, "-H", "host1", check=False)
    assert (refused.returncode, "in use" in refused.stderr) == (1, True)
    again.wait_for("job.exited", 5)
    for host in network.ssh_hosts:
        fail(host, "p3")
    wait_for(lambda: again.ends_of("p3") == everybody(network, "p3"))
    # Its standard output is a pipe: what was written last may not have been acknowledged when it was killed.
    repeated = [event for event in again.of("job.exited") if event.get("redelivered")]
    assert [event["subject"] for event in repeated] in ([], ["p1"])
    assert again.ends_of("p2", "p3") == everybody(network, "p2") | everybody(network, "p3")
    assert again.end() == 0
    assert [len(subscribers(host)) for host in network.ssh_hosts] == ([1] if mode else [0]) * 5


@both_modes
def test_hosts_that_forward_no_sockets_tell_as_well_and_fan_out_is_bounded(
    connect_ssh: ConnectSsh, mode: tuple[str, ...]
) -> None:
    """[R17] [R2] [R18]"""
    network = connect_ssh(*(Sshd(forwards=False),) * 2, Sshd(slow_s=3.0))
    network.serve()
    here = Here(network)
    try:
        told = here.subscribe(network, *mode, *JOB_ENDS, "--fanout", "1")
        for host in network.ssh_hosts:
            fail(host, "p1")
        told.wait_for("job.exited", 3)
        assert told.end() == 0
        assert told.ends_of() == everybody(network, "p1")
        assert [subscribers(host) for host in network.ssh_hosts] == [[]] * 3
        wait_for(lambda: [host.bridges() for host in network.ssh_hosts] == [[]] * 3, what="the end of bridges")
    finally:
        here.end()


def test_a_name_tells_of_a_host_what_happened_before_it_was_ever_reached(network: SshNetwork, here: Here) -> None:
    """[R20] [R18]"""
    late = network.ssh_hosts[0]
    late.kill_sshd()
    named = ("--name", "pager", *JOB_ENDS)
    assert here.subscribe(network, *named).end() == 0
    fail(late, "p1")
    late.start_sshd()
    told = here.subscribe(network, *named)
    fail(late, "p2")
    told.wait_for("job.exited", 2)
    assert told.end() == 0
    assert [(event["subject"], event.get("redelivered")) for event in told.events] == [("p1", None), ("p2", None)]


def test_events_come_without_ssh_once_it_is_registered(network: SshNetwork, here: Here) -> None:
    """[R17]"""
    told = here.subscribe(network, *SERVE)
    for host in network.ssh_hosts:
        host.kill_sshd()
        fail(host, "p1")
    told.wait_for("job.exited", 5)
    begin = time.monotonic()
    assert told.end() == 0
    assert time.monotonic() - begin < 8
    assert told.said[-1].startswith("launch: not unsubscribed at host1, host2, host3, host4, host5")
    assert told.ends_of() == everybody(network, "p1")
    assert not told.of("host.suspect")


def test_a_host_whose_packets_do_not_come_through_is_named_until_they_do(network: SshNetwork, here: Here) -> None:
    """[R22]"""
    walled = network.ssh_hosts[2]
    walled.wall()
    told = here.subscribe(network, *SERVE, *JOB_ENDS)
    said = told.says(f"{walled.name} cannot reach {told.address}: ")
    assert said.count("\n") == 1
    for host in network.ssh_hosts:
        fail(host, "p1")
    told.wait_for("job.exited", 4)
    walled.heal()
    told.wait_for("job.exited", 5)
    told.says(f"{walled.name}: ")
    assert told.ends_of() == everybody(network, "p1")
    assert told.end() == 0
    assert len([line for line in told.said if "cannot reach" in line]) == 1


def test_launchers_connect_to_what_is_advertised(network: SshNetwork, here: Here) -> None:
    """[R17]"""
    network._switch.run("ip", "address", "add", "10.77.0.253/24", "dev", "bridge")
    for advertised in ("10.77.0.253", "10.77.0.253:{port}"):
        port = 20000 + os.getpid() % 10000
        told = here.subscribe(
            network, "--serve", "-a", f":{port}", *JOB_ENDS, "--advertise", advertised.format(port=port)
        )
        for host in network.ssh_hosts:
            assert [one["address"] for one in subscribers(host)] == [f"10.77.0.253:{port}"]
            fail(host, "p1")
        told.wait_for("job.exited", 5)
        assert told.end() == 0


def test_hosts_may_stand_before_the_command_or_in_the_environment(network: SshNetwork, here: Here) -> None:
    """[R17] [R8]"""
    for env, before in (({"LAUNCH_HOSTS": "host[1-2]"}, ()), ({"LAUNCH_HOSTS": "host5"}, ("-H", "host[1-2]"))):
        told = here.popen(*before, "subscribe", "--json", "-n", "2", *JOB_ENDS, env=here.env | env)
        assert told.stderr is not None
        assert told.stderr.readline() == "launch: following the launchers of 2 hosts\n"
        for host in network.ssh_hosts[:2]:
            fail(host, "p1")
        assert told.wait(30) == 0


@both_modes
def test_two_names_of_one_host_count_once(network: SshNetwork, here: Here, mode: tuple[str, ...]) -> None:
    """[R23]"""
    first = network.ssh_hosts[0]
    network.write_config("Host twin", f" HostName {first.address}", f" HostKeyAlias {first.name}")
    told = Hearing(here, *mode, *JOB_ENDS, "-H", f"{first.name},twin,host2").begun()
    said = told.says(" is the same launcher as ") if mode else told.says("same launcher as")
    assert "counts once" in said
    for host in network.ssh_hosts[:2]:
        fail(host, "p1")
        assert len(subscribers(host)) == (1 if mode else 0)
    told.wait_for("job.exited", 2)
    fail(first, "p2")
    told.wait_for("job.exited", 3)
    assert told.end() == 0
    assert len(told.ends_of()) == 3
    assert [subscribers(host) for host in network.ssh_hosts] == [[]] * 5


def test_a_launcher_with_another_journal_is_told_again(network: SshNetwork, here: Here) -> None:
    """[R18] [D6]"""
    host = network.ssh_hosts[1]
    told = here.subscribe(network, *SERVE)
    host.launch("shutdown")
    told.wait_for("launcher.lost", 1)
    (host.state / "journal.db").unlink()
    host.serve()
    told.wait_for("stream.reset", 1, 40)
    fail(host, "p1")
    told.wait_for("job.exited", 1)
    assert told.end() == 0
    assert not told.of("host.suspect")


def test_where_the_keeper_is_killed_the_launcher_is_lost_for_certain(network: SshNetwork, here: Here) -> None:
    """[R19]"""
    host = network.ssh_hosts[3]
    told = here.subscribe(network, *SERVE)
    host.launch("submit", "-l", "stays", "-p", "sleep", "1000")
    os.kill(host.keeper_pid, signal.SIGKILL)
    (lost,) = told.wait_for("launcher.lost", 1)
    assert (lost["source"], lost["data"]["certain"]) == (f"//{host.name}/relaunch/0", True)
    told.says(f"{host.name}: no launcher runs there")
    host.serve()
    told.wait_for("launcher.started", 1)
    host.launch("stop", "stays")
    told.wait_for("job.exited", 1)
    assert told.end() == 0
    assert not told.of("host.lost") + told.of("host.rebooted")


def test_one_that_is_unsubscribed_at_one_host_goes_on_with_the_others(network: SshNetwork, here: Here) -> None:
    """[R18] [D36]"""
    told = here.subscribe(network, *SERVE)
    ended = network.ssh_hosts[0]
    (one,) = subscribers(ended)
    ended.launch("unsubscribe", str(one["id"]))
    told.says(f"{ended.name}: the subscription was ended by: launch unsubscribe")
    for host in network.ssh_hosts:
        fail(host, "p1")
    told.wait_for("job.exited", 4)
    assert told.end() == 0
    assert told.ends_of() == everybody(network, "p1") - {(ended.name, "p1")}
    assert not told.of("host.lost")
