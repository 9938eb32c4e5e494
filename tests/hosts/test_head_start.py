"""Connections that are begun before a command is fully loaded: which are, and that none is left behind."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.hosts.commanding import Client
from tests.hosts.sshd import SshHost, SshNetwork
from tests.system.launcher_host import LAUNCH, alive, wait_for

from relaunch.client.forwards import control_socket, stem_made
from relaunch.client.head_start import Begun, begin
from relaunch.client.leftovers import take_turn

LIMIT_S = 10.0


class Stuck(NamedTuple):
    """Where ``ssh`` is stuck, and which were started."""

    env: dict[str, str]
    pids: Path


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


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    """An ssh that does nothing for long, and the environment of a command that finds it."""
    with tempfile.TemporaryDirectory(prefix="rl-", dir="/tmp") as made:
        place = Path(made)
        (place / "run").mkdir(mode=0o700)
        ssh = place / "ssh"
        ssh.write_text(f"#!/bin/sh\necho $$ >>{place}/pids\nexec sleep 300\n")
        ssh.chmod(0o755)
        env = os.environ | {"PATH": f"{place}:{os.environ['PATH']}", "XDG_RUNTIME_DIR": str(place / "run")}
        yield Stuck(env, place / "pids")


def test_a_signal_while_many_are_begun_leaves_no_ssh(stuck: Stuck) -> None:
    """[R7] [R15] Between the start of a process and the word of it, too."""
    for moment in range(24):
        command = [str(LAUNCH), "-H", "x[1-32]", "list"]
        with subprocess.Popen(command, env=stuck.env, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as listing:
            wait_for(lambda: stuck.pids.exists() or listing.poll() is not None, what="the first ssh")
            # No synchronisation, but other moments each time.
            time.sleep(moment * 0.004)
            listing.send_signal(signal.SIGTERM)
            assert listing.wait(20) in (-signal.SIGTERM, 128 + signal.SIGTERM)
        assert not [pid for pid in map(int, stuck.pids.read_text().split()) if alive(pid)]
        stuck.pids.unlink()


def test_with_sigchld_ignored_a_failure_is_told_all_the_same(five: SshNetwork, host: SshHost) -> None:
    """[R9] As whoever starts a command may have left it."""
    host.kill_sshd()
    program = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    )
    line = [sys.executable, "-c", program, str(LAUNCH), "-H", host.name, "list"]
    done = subprocess.run(line, env=Client(five).env, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr.startswith(f"launch: {host.name}: no connection")) == (3, True), done.stderr


def test_few_descriptors_fail_some_hosts_and_not_the_command(stuck: Stuck) -> None:
    """[R6] Each is told of."""
    limited = ["sh", "-c", 'ulimit -n 100; exec "$@"', "sh", str(LAUNCH)]
    line = [*limited, "--timeout", "1", "-H", "x[1-32]", "list"]
    done = subprocess.run(line, env=stuck.env, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 3
    assert "unexpected" not in done.stderr
    assert "launch: x" in done.stderr
    wait_for(lambda: not [pid for pid in map(int, stuck.pids.read_text().split()) if alive(pid)], what="all end")


def test_many_hosts_that_are_begun_with_are_asked_as_many_at_a_time_as_was_said(five: SshNetwork) -> None:
    """[R8] [R16] Each by one ssh."""
    client = Client(five)
    assert client.launch("--fanout", "2", "-H", client.hosts, "list").stdout.startswith("HOST  LABEL")
    assert five.ssh_runs() == len(five.ssh_hosts)
