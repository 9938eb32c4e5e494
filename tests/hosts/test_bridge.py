"""``launch bridge``: says where it is, carries bytes both ways, and never stays behind."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import IO, Any

import pytest
from tests.system.launcher_host import LAUNCH, Host, alive, wait_for

from relaunch import __version__

Bridge = subprocess.Popen[bytes]


@pytest.fixture
def place() -> Iterator[Host]:
    """A place where nothing serves."""
    host = Host()
    try:
        yield host
    finally:
        host.end()


@pytest.fixture
def host(place: Host) -> Host:
    """A launcher that serves."""
    place.serve()
    return place


def bridge(host: Host, **env: str) -> Bridge:
    return subprocess.Popen(
        [LAUNCH, "bridge"], env=host.env | env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )


def message(stream: IO[bytes] | None) -> dict[str, Any]:
    """The next message, without its NUL."""
    assert stream is not None
    read = b""
    while not read.endswith(b"\0"):
        data = stream.read(1)
        assert data, f"it ended after {read!r}"
        read += data
    answer: dict[str, Any] = json.loads(read[:-1])
    return answer


def call(method: str, **parameters: object) -> bytes:
    return json.dumps({"method": f"io.relaunch.Launcher.{method}", "parameters": parameters}).encode() + b"\0"


def send(process: Bridge, data: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(data)


def end(process: Bridge) -> int:
    with process:
        assert process.stdin is not None
        process.stdin.close()
        return process.wait(timeout=10)


def test_it_says_where_it_is_and_joins_the_launcher(host: Host) -> None:
    """[R1]"""
    process = bridge(host, SSH_CONNECTION="10.0.0.9 50178 10.0.0.1 22")
    assert message(process.stdout) == {
        "relaunch": __version__,
        "host": os.uname().nodename,
        "client": "10.0.0.9",
        "socket": str(host.socket),
    }
    send(process, call("Submit", spec={"label": "p1", "argv": ["sleep", "120"]}))
    assert message(process.stdout)["parameters"]["job"]["state"] == "running"
    send(process, call("List") + call("GetStatus"))
    assert message(process.stdout)["parameters"]["jobs"][0]["label"] == "p1"
    assert message(process.stdout)["parameters"]["status"]["launcher_pid"] == host.launcher_pid
    assert end(process) == 0


def test_without_a_launcher_it_says_so(place: Host) -> None:
    """[R1]"""
    process = bridge(place)
    greeting = message(process.stdout)
    assert greeting["relaunch"] == __version__
    assert greeting["error"] == "io.relaunch.Launcher.NoLauncher"
    assert "launch serve --background" in greeting["message"]
    assert end(process) == 3


def test_that_the_input_has_ended_is_passed_on_and_the_answer_still_comes(host: Host) -> None:
    """[R1]"""
    asked = call("List") + call("GetStatus")
    done = subprocess.run([LAUNCH, "bridge"], env=host.env, input=asked, stdout=subprocess.PIPE, timeout=10, check=True)
    assert len(done.stdout.split(b"\0")) == 1 + 2 + 1


def test_it_ends_with_its_input_though_a_stream_is_endless(host: Host) -> None:
    """[R1]"""
    host.launch("submit", "-l", "p1", "-p", "sleep", "120")
    process = bridge(host)
    send(process, call("Events", since=0, follow=True).replace(b'"parameters"', b'"more": true, "parameters"'))
    message(process.stdout)
    message(process.stdout)
    assert end(process) == 0


def test_it_ends_when_nobody_reads_though_a_job_is_waited_for(host: Host) -> None:
    """[R1]"""
    host.launch("submit", "-l", "p1", "-p", "sleep", "120")
    process = bridge(host)
    message(process.stdout)
    send(process, call("Wait", patterns=["p1"]))
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=10) == 0
    end(process)


def test_it_ends_with_the_launcher(host: Host) -> None:
    """[R1]"""
    process = bridge(host)
    message(process.stdout)
    host.launch("shutdown")
    assert process.wait(timeout=10) == 0
    end(process)


def test_it_ends_when_the_client_is_killed(host: Host) -> None:
    """[R1]"""
    script = (
        "import subprocess, sys; bridge = subprocess.Popen(sys.argv[1:], stdin=-1, stdout=-1); "
        "print(bridge.pid, flush=1); bridge.wait()"
    )
    command = [sys.executable, "-c", script, str(LAUNCH), "bridge"]
    with subprocess.Popen(command, env=host.env, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        pid = int(client.stdout.readline())
        client.kill()
    wait_for(lambda: not alive(pid), what="the end of the bridge")


def test_much_goes_both_ways_at_once(host: Host) -> None:
    """[R1]"""
    count = 2000
    calls = call("GetStatus") * count
    done = subprocess.run([LAUNCH, "bridge"], env=host.env, input=calls, stdout=subprocess.PIPE, timeout=50, check=True)
    answers = [json.loads(one) for one in done.stdout.split(b"\0")[1:-1]]
    assert len(answers) == count
    assert all("status" in answer["parameters"] for answer in answers)


def test_its_imports_are_those_of_the_quick_commands() -> None:
    heavy = "re enum typing json socket argparse collections dataclasses functools signal inspect asyncio subprocess"
    script = "import sys; sys.argv[1:] = ['bridge']; import relaunch.cli.main, relaunch.cli.bridge; print(*sys.modules)"
    path = f"import sys; sys.path[:0] = {sys.path!r}; "
    done = subprocess.run([sys.executable, "-I", "-S", "-c", path + script], capture_output=True, text=True, check=True)
    assert not set(heavy.split()) & set(done.stdout.split())
