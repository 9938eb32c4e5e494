"""Requests that meet: for one label, in one turn of the launcher's loop."""

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from tests.system.evidence import check_history, check_processes, events, jobs, jobs_processes
from tests.system.launcher_host import Host, wait_for
from tests.system.peer import Peer, encode, spec_of

ROUNDS = 20


@contextmanager
def _held_journal(host: Host) -> Iterator[None]:
    """Nothing that happens is in the journal, and told, before this ends."""
    with closing(sqlite3.connect(host.state / "journal.db", isolation_level=None)) as tool:
        tool.execute("BEGIN IMMEDIATE")
        yield
        tool.execute("ROLLBACK")


def test_a_restart_that_meets_a_submit_of_the_same_label(host: Host) -> None:
    """[S3] [S9] [S21] Whichever comes first has the label; nothing runs that no job stands for."""
    with Peer(host.socket) as peer:
        for _ in range(ROUNDS):
            peer.submit("a", "true")
            peer.call("Wait", {"patterns": ["a"]})
            calls = [encode("Restart", {"patterns": ["a"]}), encode("Submit", {"spec": spec_of("a")})]
            peer.socket.sendall(b"".join(calls))
            (outcome,) = peer.answer()["outcomes"]
            submitted = peer.reply()
            refusals = {outcome["error"], submitted.get("error")} - {None}
            assert refusals <= {"io.relaunch.Launcher.LabelInUse"}
            check_processes(host)
            assert jobs(host)["a"]["state"] == "running" or "error" in submitted
            peer.call("Stop", {"patterns": ["a"]})
            assert not jobs_processes(host)
    check_history(events(host))


def test_a_restart_whose_new_run_is_stopped_at_once_has_been_done(host: Host) -> None:
    """[S9] [S6] What is said to have survived a KILL has survived one."""
    with Peer(host.socket) as peer, Peer(host.socket) as other:
        for _ in range(ROUNDS):
            peer.submit("a")
            peer.send("Restart", {"patterns": ["a"]})
            wait_for(lambda: jobs(host)["a"]["run"] == 2, what="the next run is decided")
            assert other.call("Stop", {"patterns": ["a"]})["outcomes"][0]["error"] is None
            (outcome,) = peer.answer()["outcomes"]
            assert (outcome["error"], outcome["message"]) == (None, None)
    check_history(events(host))


@pytest.mark.parametrize("method", ["Stop", "Restart", "Wait"])
def test_the_end_of_an_earlier_run_is_no_answer(host: Host, method: str) -> None:
    """[S6] [S9] It comes to be told when a later run has been asked for, and is what the caller meant."""
    with Peer(host.socket) as restarts, Peer(host.socket) as peer:
        pid = peer.submit("a")["pid"]
        with _held_journal(host):
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: jobs(host)["a"]["state"] == "exited", what="the end is known")
            restarts.send("Restart", {"patterns": ["a"]})
            wait_for(lambda: jobs(host)["a"]["run"] == 2, what="the next run is decided")
            peer.send(method, {"patterns": ["a"]})
            assert jobs(host)["a"]["run"] == 2  # a later call's answer: the one before has been taken
        if method == "Wait":
            wait_for(lambda: jobs(host)["a"]["state"] == "running", what="the next run begins")
            os.kill(jobs(host)["a"]["pid"], signal.SIGKILL)
            (job,) = peer.answer()["jobs"]
        else:
            (outcome,) = peer.answer()["outcomes"]
            assert outcome["error"] is None
            job = outcome["job"]
        assert job["run"] == {"Stop": 2, "Restart": 3, "Wait": 2}[method]
        assert bool(jobs_processes(host)) == (method == "Restart")
    check_history(events(host))
