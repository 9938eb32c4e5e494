"""Jobs that are started by who calls at their sockets."""

import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.system.evidence import events, jobs, kill, kill_launcher, kinds
from tests.system.launcher_host import Host, wait_for
from tests.system.peer import Peer, Refused, spec_of

# Answers one caller at the first socket with its process id, and ends.
ONE_ANSWER = (
    "import os, socket; s = socket.socket(fileno=3); c, _ = s.accept(); c.sendall(b'%d' % os.getpid()); c.close()"
)


def unix(path: Path) -> dict[str, Any]:
    return {"web": [{"path": str(path)}]}


def submit(host: Host, path: Path, *argv: str, label: str = "a", **spec: Any) -> dict[str, Any]:
    with Peer(host.socket) as peer:
        argv = argv or (sys.executable, "-I", "-S", "-c", ONE_ANSWER)
        return peer.submit(label, *argv, sockets=unix(path), **({"throttle_s": 0.0} | spec))


def ask(path: Path) -> int:
    """Call at a socket; gives the process that has answered."""
    with socket.socket(socket.AF_UNIX) as calling:
        calling.settimeout(20)
        calling.connect(str(path))
        return int(calling.recv(100))


def refuses(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as calling:
        return calling.connect_ex(str(path)) != 0


def state(host: Host, label: str = "a") -> tuple[int, str]:
    now = jobs(host)[label]
    return now["run"], now["state"]


def test_a_caller_starts_the_job_again_and_again(host: Host) -> None:
    """[S29] [S31] Each time that somebody calls while it waits."""
    path = host.place / "web.sock"
    assert submit(host, path)["state"] == "waiting"
    answered = set()
    for run in (1, 2, 3):
        answered.add(ask(path))
        wait_for(lambda run=run: state(host) == (run, "waiting"), what=f"run {run} ends")  # type: ignore[misc]  # bound now
    assert len(answered) == 3
    causes = [event["data"]["cause"] for event in events(host, "a") if event["type"].endswith("job.starting")]
    assert causes == ["socket"] * 3


def test_whoever_calls_during_a_run_is_answered_by_the_next(host: Host) -> None:
    """[S31] [S29] Callers wait in the backlog; a new launcher finds what was bound, and who waits there."""
    path = host.place / "web.sock"
    submit(host, path)
    with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
        for calling in (first, second):
            calling.settimeout(20)
            calling.connect(str(path))
        assert first.recv(100)
        assert second.recv(100)
    kill_launcher(host)
    before = os.stat(path).st_ino
    assert ask(path)
    wait_for(lambda: state(host) == (3, "waiting"), what="three have been answered")
    assert os.stat(path).st_ino == before


def test_a_job_that_leaves_its_callers_waiting_is_throttled(host: Host) -> None:
    """[S29] [S8] What can still be read starts it again, no sooner than its throttle."""
    path = host.place / "web.sock"
    submit(host, path, "true", throttle_s=3600.0)
    with socket.socket(socket.AF_UNIX) as calling:
        calling.connect(str(path))
        wait_for(lambda: state(host) == (1, "backoff"), what="it is to be started again")
        kill_launcher(host)
        assert state(host) == (1, "backoff")
        assert 3500 < jobs(host)["a"]["retry_in_s"] <= 3600


def test_the_sockets_of_a_job_that_runs_are_there_for_it(host: Host) -> None:
    """[S31] [S8] One that is kept alive gets them at each start, and needs no caller."""
    path = host.place / "web.sock"
    job = submit(host, path, "sleep", "300", keep_alive=True)
    assert job["state"] == "running"
    kill(job["pid"])
    wait_for(lambda: state(host) == (2, "running"), what="it runs again")
    assert not refuses(path)


@pytest.mark.parametrize("run_at_load", [False, True])
def test_what_cannot_be_bound_refuses_the_submit(host: Host, run_at_load: bool) -> None:
    """[S42] [S3] [S26] With a line that names it; nothing stays bound, and the label is free."""
    path, taken = host.place / "web.sock", host.place / "taken"
    taken.write_text("x")
    bad = spec_of(
        "a", "sleep", "300", sockets={"web": [{"path": str(path)}, {"path": str(taken)}]}, run_at_load=run_at_load
    )
    with Peer(host.socket) as peer:
        for _ in range(2):
            with pytest.raises(Refused, match=f"a was not started: socket {taken}: File exists") as refused:
                peer.call("Submit", {"spec": bad, "request": "r-1"})
            assert refused.value.name == "StartFailed"
            assert (jobs(host), path.exists()) == ({}, False)
        assert peer.submit("a", sockets=unix(path), run_at_load=True)["state"] == "running"


def test_one_request_binds_once(host: Host) -> None:
    """[S26] Asked twice at the same time, while a name is looked up; another for that label meanwhile is refused."""
    spec = spec_of("a", "sleep", "300", sockets={"web": [{"port": 0, "host": "localhost"}]})
    with Peer(host.socket) as one, Peer(host.socket) as two, Peer(host.socket) as three:
        for peer in (one, two):
            peer.send("Submit", {"spec": spec, "request": "r-1"})
        three.send("Submit", {"spec": spec})
        first, second = one.answer()["job"], two.answer()["job"]
        with pytest.raises(Refused, match="in use"):
            three.answer()
    assert first["id"] == second["id"]
    assert len(jobs(host)) == 1


def test_a_stop_closes_and_a_restart_binds_again(host: Host) -> None:
    """[S42] [S5] A caller of a job that nothing will start is refused, and is not kept waiting."""
    path = host.place / "web.sock"
    submit(host, path)
    assert path.exists()
    host.launch("stop", "a")
    wait_for(lambda: not path.exists(), what="it is closed")
    host.launch("restart", "a")
    assert ask(path)
    wait_for(lambda: state(host) == (1, "waiting"), what="the first run has ended")
    host.launch("stop", "a")
    wait_for(lambda: not path.exists(), what="it is closed again")
    path.mkdir()
    done = host.launch("restart", "a", check=False)
    assert done.returncode == 1
    assert f"socket {path}: File exists" in done.stderr


def test_unload_and_replacement_close_too(host: Host) -> None:
    """[S38] [S42] The one that takes the label may have the same address."""
    path, other = host.place / "web.sock", host.place / "other.sock"
    submit(host, path)
    with Peer(host.socket) as peer:
        spec = spec_of("a", "sleep", "300", sockets=unix(path) | {"more": [{"path": str(other)}]})
        assert peer.call("Submit", {"spec": spec, "replace": True})["job"]["state"] == "waiting"
        assert not refuses(path)
        assert not refuses(other)
        peer.call("Submit", {"spec": spec_of("a", "sleep", "300", sockets=unix(path)), "replace": True})
        wait_for(lambda: not other.exists(), what="what the new one does not ask for is closed")
        assert peer.call("Unload", {"patterns": ["a"]})["outcomes"][0]["error"] is None
    wait_for(lambda: not path.exists(), what="it is closed")
    assert kinds(events(host, "a"))[-1] == "job.unloaded"
    assert jobs(host) == {}


def test_the_next_keeper_binds_again(host: Host) -> None:
    """[S42] [S22] For what waits; what still runs has its own, and gets new ones with its next run."""
    path, kept = host.place / "web.sock", host.place / "kept.sock"
    submit(host, path)
    running = submit(host, kept, "sleep", "300", label="b", keep_alive=True)
    kill(host.keeper_pid)
    wait_for(lambda: host.processes() == [running["pid"]], what="the launcher has followed its keeper")
    assert refuses(path)
    host.serve()
    assert ask(path)
    wait_for(lambda: state(host) == (1, "waiting"), what="it has been started")
    assert jobs(host)["b"]["pid"] == running["pid"]
    kill(running["pid"])
    wait_for(lambda: state(host, "b") == (2, "running"), what="the other runs again")
    assert not refuses(kept)


def test_what_cannot_be_bound_any_more_is_told_and_tried_again(host: Host) -> None:
    """[S42] [S23] As a start that failed, at each of its throttles, until it can."""
    path = host.place / "web.sock"
    submit(host, path)
    kill(host.keeper_pid)
    wait_for(lambda: not host.processes(), what="the launcher has followed its keeper")
    path.unlink()
    path.mkdir()
    host.serve()
    wait_for(lambda: "job.start-failed" in kinds(events(host, "a")), what="it is told")
    failed = next(event for event in events(host, "a") if event["type"].endswith("start-failed"))
    assert failed["data"]["message"] == f"socket {path}: File exists"
    path.rmdir()
    wait_for(lambda: path.exists() and not refuses(path), what="it is bound")
    assert ask(path)
