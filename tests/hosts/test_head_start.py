"""Connections that are begun before a command is fully loaded: which are, and that none is left behind."""

import os
import signal

import pytest
from tests.hosts.commanding import Client
from tests.hosts.sshd import SshHost, SshNetwork
from tests.system.launcher_host import alive, wait_for

from relaunch.client.forwards import control_socket, stem_made
from relaunch.client.head_start import Begun, begin
from relaunch.client.leftovers import take_turn

LIMIT_S = 10.0


@pytest.fixture
def host(five: SshNetwork) -> SshHost:
    return five.ssh_hosts[0]


def begun(host: SshHost) -> Begun | None:
    return begin([host.name], LIMIT_S, prompts=False).get(host.name)


def test_what_is_given_up_leaves_no_process_and_no_turn(host: SshHost) -> None:
    """[R7]"""
    one = begun(host)
    assert one is not None
    pid = one.ssh.process.pid
    assert alive(pid)
    one.drop()
    assert not alive(pid)
    again = take_turn(stem_made(host.name))
    assert again is not None
    again.end()


def test_only_what_nobody_has_begun_is_begun(host: SshHost) -> None:
    """[R7] [R16] What is left of another connection, or being made, is for whoever looks closely."""
    stem = stem_made(host.name)
    turn = take_turn(stem)
    assert turn is not None
    assert begun(host) is None
    turn.end()
    for left in (control_socket(stem), f"{stem}.json"):
        with open(left, "w", encoding="ascii"):
            assert begun(host) is None
        os.unlink(left)


def test_where_ssh_cannot_be_run_nothing_is_begun(host: SshHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """[R9] Whoever connects then says why."""
    monkeypatch.setenv("PATH", "/nowhere")
    assert begun(host) is None
    again = take_turn(stem_made(host.name))
    assert again is not None
    again.end()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_command_is_still_loading_leaves_no_ssh(
    five: SshNetwork, host: SshHost, number: signal.Signals
) -> None:
    """[R7] [R15]"""
    host.cut()
    with Client(five).popen("-H", host.name, "list") as listing:
        wait_for(five.masters, what="an ssh")
        listing.send_signal(number)
        assert listing.wait(20) in (-number, 128 + number)
    wait_for(lambda: not five.masters(), what="the end of every ssh")


def test_many_hosts_that_are_begun_with_are_asked_as_many_at_a_time_as_was_said(five: SshNetwork) -> None:
    """[R8] [R16] Each by one ssh."""
    client = Client(five)
    assert client.launch("--fanout", "2", "-H", client.hosts, "list").stdout.startswith("HOST  LABEL")
    assert five.ssh_runs() == len(five.ssh_hosts)
