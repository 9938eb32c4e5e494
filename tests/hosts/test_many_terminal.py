"""``launch -H HOSTS COMMAND`` for a person at a terminal, and for one who has waited for long enough."""

import json
import os
import pty
import select
import signal
import subprocess
import time

from tests.hosts.commanding import Client
from tests.hosts.conftest import ConnectSsh
from tests.hosts.sshd import Sshd, SshHost, SshNetwork
from tests.system.launcher_host import DEADLINE_S, LAUNCH


class Terminal:
    """A terminal with a ``launch`` on it."""

    def __init__(self, client: Client, *args: str) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [LAUNCH, *args], env=client.env, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        self.shown = ""

    def until(self, text: str) -> None:
        """Read until a text has been shown."""
        give_up_at = time.monotonic() + DEADLINE_S
        while text not in self.shown:
            assert self._read(give_up_at), f"{text!r} in {self.shown!r}"

    def end(self) -> int:
        """Read to the end, and give the exit status."""
        give_up_at = time.monotonic() + 2 * DEADLINE_S
        while self._read(give_up_at):
            pass
        os.close(self._ours)
        return self.process.wait(DEADLINE_S)

    def _read(self, give_up_at: float) -> bool:
        assert select.select([self._ours], [], [], max(0.0, give_up_at - time.monotonic()))[0], self.shown
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # as Linux says that nobody has the other side open
            return False
        self.shown += data.decode().replace("\r\n", "\n")
        return bool(data)


class Halted:
    """A launcher that is there and says nothing."""

    def __init__(self, host: SshHost) -> None:
        self._pid = host.launcher_pid

    def __enter__(self) -> None:
        os.kill(self._pid, signal.SIGSTOP)

    def __exit__(self, *_: object) -> None:
        self.go_on()

    def go_on(self) -> None:
        """Let it speak."""
        os.kill(self._pid, signal.SIGCONT)


def test_a_terminal_shows_who_is_waited_for_and_at_once_what_went_wrong(five: SshNetwork) -> None:
    """[R9] [R15] A host that hangs from the beginning is named while nothing comes; Ctrl-C tells what is known."""
    client = Client(five, "host[1-3]")
    client.over("list")
    client.over("submit", "-l", "p1", "--", "sleep", "120")
    five.ssh_hosts[2].launch("shutdown")
    with Halted(five.ssh_hosts[1]):
        shown = Terminal(client, "--timeout", "5", "-H", client.hosts, "signal", "CONT", "p1")
        shown.until("\x1b[K2 of 3 hosts have answered; waiting ")
        shown.until(" s for host2")
        assert "launch: host3: no launcher runs there; start it with: launch -H host3 serve\n" in shown.shown
        assert "CONT sent" not in shown.shown
        assert shown.end() == 4
        *_, first, second, third = shown.shown.rpartition("\x1b[K")[2].splitlines()
        assert first == "host1: p1: CONT sent"
        assert second.startswith("launch: host2: ")
        assert third == "launch: 2 of 3 hosts did not do well: host[2-3]"
        shown = Terminal(client, "-H", client.hosts, "signal", "CONT", "p1")
        shown.until("\x1b[K2 of 3 hosts have answered; waiting ")
        shown.process.send_signal(signal.SIGINT)
        assert shown.end() == -signal.SIGINT
        *_, first, second = shown.shown.rpartition("\x1b[K")[2].splitlines()
        assert first == "host1: p1: CONT sent"
        assert second.startswith("launch: host2: interrupted before it ")
    five.ssh_hosts[2].serve()


def test_an_interrupted_command_says_what_is_unknown(five: SshNetwork) -> None:
    """[R15] [W7] Whichever way hosts are asked; what was not asked is not said to be unknown."""
    client = Client(five, "host[1-3]")
    for label in ("cold", "warm"):
        line = ["submit", "-l", label, "--json", "--", "true"]
        with Halted(five.ssh_hosts[1]), client.popen("-H", client.hosts, *line) as process:
            assert process.stdout is not None
            assert {json.loads(process.stdout.readline())["host"] for _ in range(2)} == {"host1", "host3"}
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=DEADLINE_S)
        assert (err, process.returncode) == ("", -signal.SIGINT)
        error = json.loads(out)["error"]
        if error["name"].endswith("OutcomeUnknown"):
            assert error["message"] == (
                "host2: interrupted before it answered: whether it was done is unknown; look with: launch -H host2 list"
            )
        else:
            assert error["message"] == "host2: interrupted before it was asked; nothing was done"
            assert label not in five.ssh_hosts[1].jobs()


def test_no_host_waits_for_another_to_be_begun(five: SshNetwork) -> None:
    """[R6] Neither one that is not connected yet, nor one beyond the fanout where jobs are waited for."""
    client = Client(five, "host[1-3]")
    client.launch("-H", "host[1-2]", "list")
    client.launch("-H", "host[1-2]", "list")
    halted = Halted(five.ssh_hosts[0])
    with halted, client.popen("--timeout", "25", "-H", client.hosts, "list", "--json") as asking:
        assert asking.stdout is not None
        began = time.monotonic()
        assert {json.loads(asking.stdout.readline())["host"] for _ in range(2)} == {"host2", "host3"}
        assert time.monotonic() - began < 20
        halted.go_on()
        assert json.loads(asking.stdout.readline()) == {"host": "host1", "result": []}
    client.over("submit", "-l", "p1", "--", "sh", "-c", "[ {index} = 3 ] || exec sleep 120")
    with client.popen("--fanout", "1", "-H", client.hosts, "wait", "p1", "--json") as waiting:
        assert waiting.stdout is not None
        assert json.loads(waiting.stdout.readline())["host"] == "host3"
        client.launch("-H", "host[1-2]", "stop", "p1")
        assert {json.loads(waiting.stdout.readline())["host"] for _ in range(2)} == {"host1", "host2"}


def test_every_command_has_a_line_of_json_for_each_host(connect_ssh: ConnectSsh) -> None:
    """[R9] [W13]"""
    network = connect_ssh(*(Sshd(),) * 2)
    client = Client(network, "host[1-2]")

    def results(*args: str, status: int = 0) -> list[object]:
        found = client.answers(*args, status=status)
        assert sorted(found) == ["host1", "host2"]
        return [found[host]["result"] for host in sorted(found)]

    network.ssh_hosts[1].serve()
    keepers = results("serve")
    assert [one["how"] for one in keepers if isinstance(one, dict)] == ["started", "running"]
    submitted = client.launch("-H", client.hosts, "submit", "-l", "p1", "--json", "--", "sleep", "120").stdout
    assert {json.loads(line)["result"]["state"] for line in submitted.splitlines()} == {"running"}
    for line in (["signal", "CONT", "p1"], ["restart", "p1"], ["stop", "p1"], ["kill", "p1"]):
        outcomes = results(*line)
        assert [one[0]["label"] for one in outcomes if isinstance(one, list)] == ["p1", "p1"]
    answers = client.answers("signal", "CONT", "p1", status=1)
    assert {answer["result"][0]["error"] for answer in answers.values()} == {"io.relaunch.Launcher.NotRunning"}
    assert {one["error"]["name"] for one in client.answers("unsubscribe", "x", status=1).values()} == {
        "io.relaunch.Launcher.NoSuchSubscription"
    }
    assert results("shutdown") == [[], []]
