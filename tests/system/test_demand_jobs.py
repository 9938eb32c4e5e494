"""Jobs that other jobs hold and keep, and what becomes of those that end again and again."""

import os
import signal
import sqlite3
import time
from contextlib import closing
from typing import Any

import pytest
from tests.system.evidence import end_stragglers, events, jobs, kill, kill_launcher, kinds
from tests.system.launcher_host import Host, alive, wait_for
from tests.system.peer import Peer, call


def state(host: Host, label: str) -> tuple[int, str]:
    now = jobs(host)[label]
    return now["run"], now["state"]


def wait_for_state(host: Host, label: str, run: int, word: str) -> None:
    wait_for(lambda: state(host, label) == (run, word), what=f"{label}: run {run}, {word}")


def ends(host: Host, label: str) -> list[str]:
    """What follows the submit of a label, apart from starts and ends of runs."""
    ordinary = ("submitted", "starting", "started", "exited")
    return [kind for kind in kinds(events(host, label)) if kind.removeprefix("job.") not in ordinary]


def starts(host: Host, *labels: str) -> list[str]:
    """The labels in the order in which their programs were started."""
    return [event["subject"] for event in events(host, *labels) if event["type"].endswith("job.started")]


def pretend_reboot(host: Host) -> None:
    """Have the journal say that all of it happened in another boot; nothing may serve or run."""
    with closing(sqlite3.connect(host.state / "journal.db")) as journal, journal:
        journal.execute("UPDATE events SET boot_id = '11111111-2222-3333-4444-555555555555'")


def test_a_job_starts_when_all_that_it_depends_on_is_ready(host: Host) -> None:
    """[S34] In that order; who is lacking is told; and what runs is not touched when that ends."""
    with Peer(host.socket) as peer:
        job = peer.submit("web", depends_on=["db", "disk"])
        assert (job["state"], job["waits_for"]) == ("waiting", ["db", "disk"])
        db = peer.submit("db")
        wait_for(lambda: jobs(host)["web"]["waits_for"] == ["disk"], what="one is lacking")
        assert state(host, "web") == (0, "waiting")
        peer.submit("disk", "true")  # has done its work
        wait_for_state(host, "web", 1, "running")
        assert starts(host, "web", "db", "disk") == ["db", "disk", "web"]
        kill(db["pid"])
        call(host.socket, "Wait", {"patterns": ["db"]})
        assert state(host, "web") == (1, "running")
        assert jobs(host)["web"]["waits_for"] == []


def test_what_a_job_waits_for_may_come_with_another_launcher(host: Host) -> None:
    """[S34] [S21] It goes on waiting."""
    with Peer(host.socket) as peer:
        peer.submit("web", depends_on=["db"], keep_alive=True)
    kill_launcher(host)
    assert jobs(host)["web"]["waits_for"] == ["db"]
    with Peer(host.socket) as peer:
        peer.submit("db")
    wait_for_state(host, "web", 1, "running")


def test_a_boot_starts_what_is_kept_in_the_order_of_what_it_depends_on(host: Host) -> None:
    """[S37] [S34] Though a shutdown had ended it; what was stopped stays so, and what was to run once has."""
    with Peer(host.socket) as peer:
        peer.submit("web", depends_on=["app"], keep_alive=True)
        peer.submit("app", depends_on=["db"], run_at_load=True)
        peer.submit("db", keep_alive=True)
        peer.submit("stopped", keep_alive=True)
        peer.submit("plain")
        wait_for_state(host, "web", 1, "running")
        peer.call("Stop", {"patterns": ["stopped"]})
    host.launch("shutdown")
    wait_for(lambda: not host.processes(), what="all has ended")
    host.serve()
    assert {job["state"] for job in jobs(host).values()} == {"exited"}
    host.launch("shutdown")
    wait_for(lambda: not host.processes(), what="all has ended")
    pretend_reboot(host)
    host.serve()
    for label in ("db", "app", "web"):
        wait_for_state(host, label, 2, "running")
    assert starts(host, "web", "app", "db")[3:] == ["db", "app", "web"]
    assert (state(host, "stopped"), state(host, "plain")) == ((1, "exited"), (1, "exited"))


@pytest.mark.parametrize("wanted", [True, False])
def test_a_job_is_kept_while_another_is_enabled_or_is_not(host: Host, wanted: bool) -> None:
    """[S33] Enabled is what is known and not stopped, whether it runs or not."""
    with Peer(host.socket) as peer:
        if not wanted:
            peer.submit("b", "true")
        peer.submit("a", keep_alive_when={"other_jobs": {"b": wanted}}, throttle_s=0.0)
        assert state(host, "a") == (0, "waiting")
        if wanted:
            peer.submit("b", "true")
        else:
            peer.call("Stop", {"patterns": ["b"]})
        wait_for_state(host, "a", 1, "running")
        kill_launcher(host)
    kill(jobs(host)["a"]["pid"])
    wait_for_state(host, "a", 2, "running")
    with Peer(host.socket) as peer:
        if wanted:
            assert peer.call("Unload", {"patterns": ["b"]})["outcomes"][0]["error"] is None
        else:
            peer.submit("b")
    kill(jobs(host)["a"]["pid"])
    wait_for_state(host, "a", 2, "waiting")


@pytest.mark.parametrize(
    ("conditions", "again", "not_again"),
    [
        ({"successful_exit": True}, "exit 0", "exit 3"),
        ({"successful_exit": False}, "exit 3", "exit 0"),
        ({"crashed": True}, "kill -SEGV $$", "exit 3"),
        ({"crashed": True}, "kill -ABRT $$", "kill -KILL $$"),
        ({"crashed": False}, "exit 0", "kill -SEGV $$"),
        ({"successful_exit": True, "crashed": True}, "kill -SEGV $$", "exit 3"),
    ],
)
def test_how_a_run_ended_keeps_a_job(host: Host, conditions: dict[str, bool], again: str, not_again: str) -> None:
    """[S33] Any one condition will do."""
    with Peer(host.socket) as peer:
        first_then = f"if test $LAUNCH_JOB_RUN = 1; then {again}; else {not_again}; fi"
        peer.submit("a", "bash", "-c", first_then, keep_alive_when=conditions, throttle_s=0.0)
    call(host.socket, "Wait", {"patterns": ["a"]})
    assert jobs(host)["a"]["run"] == 2


def test_a_job_that_is_to_run_once_runs_once(host: Host) -> None:
    """[S33] Whatever keeps it alive; in the next boot it is started again."""
    with Peer(host.socket) as peer:
        peer.submit("a", "true", keep_alive=True, launch_only_once=True, throttle_s=0.0)
    call(host.socket, "Wait", {"patterns": ["a"]})
    kill_launcher(host)
    assert state(host, "a") == (1, "exited")
    host.launch("shutdown")
    wait_for(lambda: not host.processes(), what="all has ended")
    pretend_reboot(host)
    host.serve()
    wait_for_state(host, "a", 2, "exited")


def test_too_many_starts_are_a_failure_and_an_event(host: Host) -> None:
    """[S35] Two again, and then no more, though the launcher dies between; a restart begins the count anew."""
    limit = {"count": 2, "within_s": 3600.0}
    with Peer(host.socket) as peer:
        peer.submit("a", "false", keep_alive=True, throttle_s=0.0, restart_limit=limit)
    wait_for_state(host, "a", 3, "failed")
    kill_launcher(host)
    assert state(host, "a") == (3, "failed")
    (failed,) = [event["data"] for event in events(host, "a") if event["type"] == "io.relaunch.job.failed"]
    assert (failed["restarts"], failed["within_s"]) == (2, 3600.0)
    assert jobs(host)["a"]["exit"]["reason"] == "exited"
    last = [event["data"] for event in events(host, "a") if event["type"].endswith("exited")][-1]
    assert (last["run"], last["restart_in_s"]) == (3, None)
    call(host.socket, "Restart", {"patterns": ["a"]})
    wait_for_state(host, "a", 6, "failed")


def test_a_count_of_starts_outlives_the_launcher(host: Host) -> None:
    """[S35] [S21] What was started again before its death counts after it."""
    limit = {"count": 2, "within_s": 3600.0}
    with Peer(host.socket) as peer:
        peer.submit("a", keep_alive=True, throttle_s=0.0, restart_limit=limit)
    for run in (1, 2, 3):
        kill(jobs(host)["a"]["pid"])
        wait_for(lambda run=run: state(host, "a") in {(run + 1, "running"), (3, "failed")}, what="it has ended")  # type: ignore[misc]  # bound now
        kill_launcher(host)
    assert state(host, "a") == (3, "failed")


def test_a_delay_outlives_the_launcher(host: Host) -> None:
    """[S35] [S21] Its end stays where it was."""
    spacing = {"initial_s": 1000.0, "max_s": 4000.0, "factor": 2.0, "jitter": 0.1}
    with Peer(host.socket) as peer:
        peer.submit("a", "false", keep_alive=True, throttle_s=0.0, backoff=spacing)
    wait_for_state(host, "a", 1, "backoff")

    def due() -> float:
        return float(jobs(host)["a"]["retry_in_s"]) + time.clock_gettime(time.CLOCK_BOOTTIME)

    before = due()
    assert 900 <= jobs(host)["a"]["retry_in_s"] <= 1100
    kill_launcher(host)
    assert due() == pytest.approx(before, abs=1.0)


def test_a_delay_grows(host: Host) -> None:
    """[S35] From end to end of short runs; also over a launcher's death."""
    spacing = {"initial_s": 0.1, "max_s": 1000.0, "factor": 100.0, "jitter": 0.0}
    with Peer(host.socket) as peer:
        peer.submit("a", keep_alive=True, throttle_s=0.0, backoff=spacing)
    kill(jobs(host)["a"]["pid"])
    wait_for_state(host, "a", 2, "running")
    kill_launcher(host)
    kill(jobs(host)["a"]["pid"])
    wait_for_state(host, "a", 2, "backoff")
    assert 5 < jobs(host)["a"]["retry_in_s"] <= 10


def test_what_an_abandoning_job_has_started_is_left_alone(host: Host) -> None:
    """[S7] Not so what another one has; a stop is for its first process only."""
    child = "sleep 300 & echo $! > {place}/{label}; exec sleep 300"
    with Peer(host.socket) as peer:
        for label, abandons in (("a", True), ("b", False)):
            script = child.format(place=host.place, label=label)
            peer.submit(label, "sh", "-c", script, abandon_process_group=abandons, run_at_load=True)
        pids = {label: read_pid(host, label) for label in "ab"}
        try:
            peer.call("Stop", {"patterns": ["a"]})
            os.kill(jobs(host)["b"]["pid"], signal.SIGKILL)
            peer.call("Wait", {"patterns": ["b"]})
            wait_for(lambda: not alive(pids["b"]), what="the other's child is ended")
            assert alive(pids["a"])
        finally:
            end_stragglers(pids.values())


def read_pid(host: Host, label: str) -> int:
    path = host.place / label
    wait_for(lambda: path.exists() and path.read_text().endswith("\n"), what="the child is told")
    return int(path.read_text())


def told(host: Host, label: str) -> list[dict[str, Any]]:
    return [event["data"] for event in events(host, label)]


def test_why_a_job_waits_and_starts_is_told(host: Host) -> None:
    """[S34] [J1] By the events of both."""
    with Peer(host.socket) as peer:
        peer.submit("web", depends_on=["db"])
        peer.submit("db")
    wait_for_state(host, "web", 1, "running")
    waiting, starting = told(host, "web")[1:3]
    assert (waiting["for"], waiting["cause"], starting["cause"]) == (["db"], "submit", "submit")
