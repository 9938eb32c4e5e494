"""The quickest way to many hosts, through sockets that ssh forwards already, and where these lead nowhere."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.hosts.commanding import Client
from tests.hosts.sshd import SshNetwork
from tests.system.launcher_host import LAUNCH

from relaunch import __version__
from relaunch.client.calls import Call, list_jobs, stop, submit, wait
from relaunch.client.cluster import Cluster
from relaunch.client.connection import Connection
from relaunch.client.fan import PROVED_S, Fan, message
from relaunch.client.forwards import masters_directory, stem_of
from relaunch.errors import BadCall, OutcomeUnknown, ProtocolBroken, RelaunchError
from relaunch.places import make_private


def test_a_short_command_over_connections_that_stay_is_quick(five: SshNetwork) -> None:
    """[R16] [R2]"""
    client = Client(five)
    client.over("list")
    client.over("list")
    runs = five.ssh_runs()
    lines = {
        "list": ["list"],
        "submit": ["submit", "-l", "p1", "--", "sleep", "120"],
        "status": ["status", "--json"],
        "stop": ["stop", "p1"],
    }
    for line in lines.values():
        done = subprocess.run(
            [sys.executable, "-X", "importtime", LAUNCH, "-H", client.hosts, *line],
            env=client.env,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        imported = {row.rpartition("|")[2].strip() for row in done.stderr.splitlines()}
        assert "relaunch.client.fan" in imported
        assert not {"asyncio", "json", "socket", "ClusterShell", "re", "subprocess", "argparse"} & imported
    assert five.ssh_runs() == runs
    assert not [pid for host in five.ssh_hosts for pid in host.bridges()]


def test_a_forward_that_leads_nowhere_is_left_for_the_other_way(five: SshNetwork) -> None:
    """[R16] [R6]"""
    client = Client(five)
    client.over("list")
    client.over("list")
    halted = five.ssh_hosts[0]
    five.ssh_hosts[1].launch("shutdown")
    five.ssh_hosts[1].serve()
    five.ssh_hosts[2].launch("shutdown")
    five.ssh_hosts[3].kill_sshd()
    five.ssh_hosts[3].start_sshd()
    said = client.over("submit", "-l", "p1", "--", "sleep", "120", status=4)
    assert said == (
        "host[1-2,4-5]: p1: running\nlaunch: host3: no launcher runs there; start it with: launch -H host3 serve\n"
    )
    os.kill(pid := halted.launcher_pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        said = client.launch("--timeout", "3", "-H", "host[1-2]", "list", status=4).stderr
        assert "host1: " in said
        assert time.monotonic() - began < 15
    finally:
        os.kill(pid, signal.SIGCONT)


class Far:
    """The far end of a forward, played: answers each message it gets with what a script says."""

    def __init__(self, host: str, script: Callable[[dict[str, Any]], bytes | None]) -> None:
        directory = Path(masters_directory())
        path = directory / f"{stem_of(host)}.sock"
        (directory / f"{stem_of(host)}.json").write_text(
            json.dumps({"host": host, "pid": 1, "how": "forward", "path": str(path), "client": ""})
        )
        self.heard: list[str] = []
        self._path = path
        self._script = script
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        # Without its master, a forward is cleared away.
        self._master = socket.socket(socket.AF_UNIX)
        self._master.bind(str(path.with_suffix(".control")))
        self._master.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        rest = b""
        with connection, suppress(OSError):  # whoever asked may have gone
            while data := connection.recv(65536):
                *messages, rest = (rest + data).split(b"\0")
                for message in map(json.loads, messages):
                    self.heard.append(message["method"].rpartition(".")[2])
                    answer = self._script(message)
                    if answer is None:
                        return
                    connection.sendall(answer)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._master.close()
        self._path.unlink()
        self._path.with_suffix(".control").unlink()


def answer(parameters: dict[str, Any]) -> bytes:
    return json.dumps({"parameters": parameters}).encode() + b"\0"


@pytest.fixture
def directory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A private place for the files of masters; short, as a socket's path has to be."""
    with tempfile.TemporaryDirectory(prefix="rl-", dir="/tmp") as place:
        monkeypatch.setenv("XDG_RUNTIME_DIR", place)
        make_private(masters_directory())
        yield


@contextmanager
def far_ends(scripts: dict[str, Callable[[dict[str, Any]], bytes | None]]) -> Iterator[dict[str, Far]]:
    ends = {host: Far(host, script) for host, script in scripts.items()}
    try:
        yield ends
    finally:
        for end in ends.values():
            end.close()


def nonsense(_message: dict[str, Any]) -> bytes:
    return b"nonsense\0"


def of_another_version(message: dict[str, Any]) -> bytes:
    return (
        answer({"vendor": "relaunch", "version": "0.99.0"}) if message["method"].endswith("GetInfo") else well(message)
    )


def well(message: dict[str, Any]) -> bytes:
    if message["method"].endswith("GetInfo"):
        return answer({"vendor": "relaunch", "version": __version__})
    return answer({"jobs": [], "outcomes": [], "job": {"label": "x"}})


def silent(_message: dict[str, Any]) -> bytes:
    return b""


def hangs_up(_message: dict[str, Any]) -> None:
    return None


def knows_only_who_it_is(message: dict[str, Any]) -> bytes | None:
    return well(message) if message["method"].endswith("GetInfo") else None


def fan(
    call: Call, hosts: list[str], fanout: int = 32, timeout_s: float | None = 2.0
) -> tuple[dict[str, Any], list[str]]:
    took: dict[str, Any] = {}

    def take(host: str, value: Any) -> None:
        assert host not in took
        took[host] = value

    asked = Fan(take, fanout, timeout_s).ask(dict.fromkeys(hosts, call))
    left = [f"{host}?" if unsure else host for host, unsure in asked.items()]
    assert not took.keys() & set(asked)
    assert took.keys() | set(asked) == set(hosts)
    return took, left


def test_who_is_not_there_is_left_and_nothing_was_asked_that_may_not_be_repeated(directory: None) -> None:
    """[R16] [R12]"""
    with far_ends({"a": well, "b": hangs_up, "c": silent, "d": well}) as ends:
        took, left = fan(list_jobs(), ["a", "b", "c", "d", "nobody"])
        assert (took, sorted(left)) == ({"a": [], "d": []}, ["b", "c", "nobody"])
        signal_call = Call("Signal", {"patterns": ["x"], "signal": "HUP"}, "outcomes", changes=True)
        for end in ends.values():
            end.heard.clear()
        took, left = fan(signal_call, ["a", "b", "c"])
        assert (took, sorted(left)) == ({"a": []}, ["b", "c"])
        assert {host: end.heard for host, end in ends.items()} == {
            "a": ["GetInfo", "Signal"],
            "b": ["GetInfo"],
            "c": ["GetInfo"],
            "d": [],
        }


def test_what_waits_for_jobs_is_asked_of_all_or_of_none(directory: None) -> None:
    """[R16]"""
    with far_ends({"a": well, "b": well, "c": hangs_up}) as ends:
        assert fan(stop(["x"]), ["a", "b"]) == ({"a": [], "b": []}, [])
        for end in ends.values():
            end.heard.clear()
        assert fan(stop(["x"]), ["a", "b", "c"]) == ({}, ["a", "b", "c"])
        assert fan(wait(["x"]), ["a", "nobody"]) == ({}, ["a", "nobody"])
        assert fan(stop(["x"]), ["a", "b"], fanout=1) == ({}, ["a", "b"])
        assert not {"Stop", "Wait"} & {name for end in ends.values() for name in end.heard}


@pytest.mark.parametrize("script", [nonsense, of_another_version, lambda _: answer({})])
def test_whoever_is_not_what_it_should_be_is_left_and_holds_up_no_other(
    directory: None, script: Callable[[dict[str, Any]], bytes]
) -> None:
    """[R6] [R28] Nothing was asked of it that changes anything; of the others all or none is."""
    with far_ends({"a": well, "b": script, "c": well}) as ends:
        assert fan(list_jobs(), ["a", "b", "c"]) == ({"a": [], "c": []}, ["b"])
        assert fan(submit({"label": "x"}, "id1"), ["b"]) == ({}, ["b"])
        began = time.monotonic()
        assert fan(stop(["x"]), ["a", "b", "c"]) == ({}, ["a", "b", "c"])
        assert time.monotonic() - began < PROVED_S
        assert not {"Submit", "Stop"} & {name for end in ends.values() for name in end.heard}


def test_who_breaks_off_before_all_are_there_was_asked_nothing(directory: None) -> None:
    """[R6] [W7] It is not said to be unknown what became of a call that was not made."""

    def breaks_off(message: dict[str, Any]) -> bytes:
        return well(message) + b'{"parameters":{}}\0'

    def slow(message: dict[str, Any]) -> bytes:
        time.sleep(0.1)
        return well(message)

    with far_ends({"a": breaks_off, "b": slow}) as ends:
        assert fan(stop(["x"]), ["a", "b"]) == ({}, ["a", "b"])
        assert "Stop" not in ends["a"].heard + ends["b"].heard


def test_an_answer_that_is_lost_is_unknown_or_asked_for_again(directory: None) -> None:
    """[R12] [W7]"""
    with far_ends({"a": knows_only_who_it_is}):
        took, left = fan(stop(["x"]), ["a"])
        assert (type(took["a"]), left) == (OutcomeUnknown, [])
        assert fan(list_jobs(), ["a"]) == ({}, ["a?"])
        assert fan(submit({"label": "x"}, "id1"), ["a"]) == ({}, ["a?"])
    with far_ends({"a": hangs_up, "b": silent}):
        assert fan(submit({"label": "x"}, "id1"), ["a", "b"]) == ({}, ["a", "b"])


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (b"nonsense\0", ProtocolBroken),
        (b"[1]\0", ProtocolBroken),
        (b"\xff\0", ProtocolBroken),
        (b"[" * 100_000 + b"\0", ProtocolBroken),
        (b'{"parameters":{}}\0', ProtocolBroken),
        (b'{"error":"io.relaunch.Launcher.Refused","parameters":{"message":"no"}}\0', RelaunchError),
        (b'{"error":7,"parameters":[]}\0', ProtocolBroken),
    ],
)
def test_a_bad_answer_is_that_host_s_alone(directory: None, bad: bytes, kind: type[RelaunchError]) -> None:
    """[R16] [R6]"""

    def script(message: dict[str, Any]) -> bytes:
        return well(message) if message["method"].endswith("GetInfo") else bad

    with far_ends({"a": script, "b": well}):
        took, left = fan(list_jobs(), ["a", "b"])
        assert (isinstance(took["a"], kind), took["b"], left) == (True, [], [])


def test_an_answer_that_does_not_come_in_time_is_said(directory: None) -> None:
    """[R16] [R6]"""

    def script(message: dict[str, Any]) -> bytes:
        return well(message) if message["method"].endswith("GetInfo") else b""

    with far_ends({"a": script, "b": well}):
        took, left = fan(list_jobs(), ["a", "b"], timeout_s=0.3)
        assert (str(took["a"]), left) == ("a: no answer within 0.3 seconds", [])
        assert "whether it was done is unknown" in str(fan(stop(["x"]), ["a", "b"], timeout_s=0.3)[0]["a"])


def test_no_more_are_asked_at_a_time_than_is_said(directory: None) -> None:
    """[R6]"""
    at_once, most, lock = 0, 0, threading.Lock()

    def script(message: dict[str, Any]) -> bytes:
        nonlocal at_once, most
        with lock:
            if message["method"].endswith("GetInfo"):
                at_once += 1
                most = max(most, at_once)
            else:
                at_once -= 1
        time.sleep(0.005)
        return well(message)

    with far_ends({f"h{number}": script for number in range(20)}):
        took, left = fan(list_jobs(), [f"h{number}" for number in range(20)], fanout=4)
    assert (len(took), left) == (20, [])
    assert most <= 4


def test_large_requests_and_answers_pass(directory: None) -> None:
    """[R16]"""

    def script(message: dict[str, Any]) -> bytes:
        if message["method"].endswith("GetInfo"):
            return well(message)
        return answer({"job": {"env": message["parameters"]["spec"]["env"]}})

    spec = {"label": "x", "env": {"A": "é" * 400_000}}
    with far_ends({"a": script, "b": script}):
        took, left = fan(submit(spec, "id1"), ["a", "b"], timeout_s=20.0)
        assert (took["a"]["env"], took["b"]["env"], left) == (spec["env"], spec["env"], [])
    with pytest.raises(BadCall):
        message(submit({"label": "x" * 5_000_000}, "id1"))


def not_what_was_asked_for(message: dict[str, Any]) -> bytes:
    return well(message) if message["method"].endswith("GetInfo") else answer({"jobs": [{}], "outcomes": [5]})


@pytest.mark.parametrize("line", [["list"], ["stop", "x"], ["wait", "x"], ["wait", "x", "--json"]])
def test_an_answer_that_cannot_be_read_is_the_failure_of_one_host(directory: None, line: list[str]) -> None:
    """[R6] [R10]"""
    with far_ends({"a": well, "b": not_what_was_asked_for}):
        done = subprocess.run([LAUNCH, "-H", "a,b", *line], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 4
    assert "b: the launcher's answer is not what was asked for" in done.stdout + done.stderr
    assert "LABEL" in done.stdout or line != ["list"]


def test_a_program_gets_an_error_for_an_answer_that_cannot_be_read(directory: None) -> None:
    """[R6]"""

    async def events(launcher: Connection) -> list[object]:
        return [event async for event in launcher.events()]

    async def work() -> None:
        async with Cluster(["a", "b"]) as cluster:
            answers = {host: answer async for host, answer in cluster.each(lambda launcher: launcher.list())}
            assert answers.pop("a") == []
            assert type(answers["b"]) is ProtocolBroken
            streams = {host: answer async for host, answer in cluster.each(events)}
            assert type(streams["b"]) is ProtocolBroken

    odd = {"id": "e/1", "source": "//b/relaunch/0", "type": "x", "time": "2026-01-01T00:00:00Z", "data": 5}

    def both(message: dict[str, Any]) -> bytes:
        return answer({"events": [odd]}) if message["method"].endswith("Events") else not_what_was_asked_for(message)

    with far_ends({"a": well, "b": both}):
        asyncio.run(work())


@pytest.mark.parametrize("line", [["list"], ["submit", "-l", "x", "--", "true"]])
def test_what_another_host_says_does_nothing_to_a_terminal(directory: None, line: list[str]) -> None:
    """[R9] [D30]"""
    odd = "p\x1b[2J\nq\x9b\u202e"
    job = {"label": odd, "state": odd, "restarts": 0, "argv": [odd], "exit": {"signal": odd}}

    def script(message: dict[str, Any]) -> bytes:
        return well(message) if message["method"].endswith("GetInfo") else answer({"jobs": [job], "job": job})

    with far_ends({"a": script, "b": script}):
        done = subprocess.run([LAUNCH, "-H", "a,b", *line], capture_output=True, text=True, timeout=30, check=True)
    assert all(shown.isprintable() for shown in done.stdout.split("\n"))
    assert "p\\x1b[2J" in done.stdout


def test_an_event_that_says_odd_things_is_shown_without_them(directory: None) -> None:
    """[R6] [D30]"""
    event = {"id": "e/1", "source": "//a/relaunch/0", "type": "io.relaunch.job.exited", "time": "2026-01-01T00:00:00Z"}
    odd = event | {"subject": "p1", "data": {"argv": 5, "for": 5, "after_s": "x", "within_s": []}}

    def script(message: dict[str, Any]) -> bytes:
        return well(message) if message["method"].endswith("GetInfo") else answer({"events": [odd]})

    with far_ends({"a": script}):
        line = [str(LAUNCH), "-H", "a", "events"]
        done = subprocess.run(line, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.split()[2:] == ["a", "1", "job.exited", "p1"]
