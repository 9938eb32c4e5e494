"""The death of the launcher at any moment: no job dies, no end is lost, nothing is started twice (S21)."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from tests.system.evidence import (
    boottime_s,
    check_history,
    check_processes,
    events,
    exits,
    jobs,
    jobs_processes,
    kill,
    kill_launcher,
    kinds,
    launcher_pid,
    started_after_s,
)
from tests.system.launcher_host import Host, alive, wait_for
from tests.system.peer import HungUp, Peer, call, encode, spec_of

JOBS = 20
BURST = 100


class Endings:
    """Jobs that end with the code they are told, when they are told."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._ends: dict[str, int] = {}

    def submit(self, peer: Peer, label: str) -> dict[str, object]:
        """Start one."""
        fifo = self._place / f"{label}.fifo"
        os.mkfifo(fifo)
        self._ends[label] = os.open(fifo, os.O_RDWR | os.O_CLOEXEC)
        return peer.submit(label, "sh", "-c", "read code; exit $code", stdin=str(fifo))

    def tell(self, label: str, code: int) -> None:
        """Have it end."""
        os.write(self._ends[label], b"%d\n" % code)

    def close(self) -> None:
        """Give everything back."""
        for fd in self._ends.values():
            os.close(fd)


def test_jobs_outlive_the_launcher_and_their_ends_are_known(host: Host) -> None:
    """[S21] [S20] [S11] Ends before, during and after the launcher's death, with their true status."""
    endings = Endings(host.place)
    with Peer(host.socket) as peer:
        for number in range(JOBS // 2):
            peer.submit(f"lasts{number}")
            endings.submit(peer, f"ends{number}")
        before = jobs(host)
    first = launcher_pid(host)
    os.kill(first, signal.SIGSTOP)  # it hears of the ends, and can write none of them down
    for number in range(5):
        endings.tell(f"ends{number}", number + 1)
    kill(before["ends5"]["pid"], signal.SIGSEGV)
    for number in range(6):
        pid = before[f"ends{number}"]["pid"]
        wait_for(lambda pid=pid: not alive(pid), what=f"process {pid} ends")  # type: ignore[misc]  # bound now
    at = boottime_s()
    kill(first)
    for number in range(6, 10):
        endings.tell(f"ends{number}", number + 1)
    second = launcher_pid(host)
    assert second != first
    assert 0 <= started_after_s(second, at - 0.02) < 1.0
    for number in range(10):
        call(host.socket, "Wait", {"patterns": [f"ends{number}"]})
    after = jobs(host)
    for number in range(10):
        assert after[f"lasts{number}"] | {"uptime_s": None} == before[f"lasts{number}"] | {"uptime_s": None}
        end = after[f"ends{number}"]["exit"]
        assert (end["code"], end["signal"]) == ((number + 1, None) if number != 5 else (None, "SEGV"))
        assert end["usage"]["rss_bytes_max"] > 0
        assert [data["run"] for data in exits(host, f"ends{number}")] == [1]
    history = events(host)
    check_history(history)
    check_processes(host)
    (restarted,) = [event for event in history if event["type"] == "io.relaunch.launcher.restarted"]
    assert restarted["data"] | {"version": None, "boot_id": None} == {
        "pid": second,
        "version": None,
        "boot_id": None,
        "starts": 2,
        "died": signal.SIGKILL,
    }
    endings.close()


@pytest.mark.parametrize("answers_before_the_kill", [0, 1, 50])
def test_a_burst_of_submits_is_cut_by_the_launchers_death(host: Host, answers_before_the_kill: int) -> None:
    """[S21] [S2] [W7] What was answered runs exactly once; what was not runs once or not at all."""
    pid = launcher_pid(host)
    answered: dict[str, int] = {}
    with Peer(host.socket) as peer:
        peer.socket.sendall(b"".join(encode("Submit", {"spec": spec_of(f"b{number}")}) for number in range(BURST)))
        try:
            while len(answered) < BURST:  # the next launcher takes up a connection that waited in the backlog
                if len(answered) == answers_before_the_kill:
                    os.kill(pid, signal.SIGKILL)
                job = peer.answer()["job"]
                answered[job["label"]] = job["pid"]
        except HungUp:
            pass
    wait_for(lambda: launcher_pid(host) != pid, what="the next launcher answers")
    wait_for(lambda: all(job["state"] == "running" for job in jobs(host).values()), what="every job runs")
    now = jobs(host)
    assert {label: now[label]["pid"] for label in answered} == answered
    assert set(map(len, jobs_processes(host).values())) <= {1}
    check_processes(host)
    check_history(events(host))


def test_every_answer_stands_in_the_journal_before_it_is_given(host: Host) -> None:
    """[S2] [J1] [J2] The launcher is killed as soon as it has answered; what it said is there."""
    with Peer(host.socket) as peer:
        peer.submit("a")
        kill(launcher_pid(host))
    with Peer(host.socket) as peer:
        assert kinds(events(host, "a")) == ["job.submitted", "job.started"]
        assert peer.call("Stop", {"patterns": ["a"]})["outcomes"][0]["error"] is None
        kill(launcher_pid(host))
    assert kinds(events(host, "a")) == ["job.submitted", "job.started", "job.stopping", "job.exited"]
    assert jobs(host)["a"]["exit"]["reason"] == "stopped"
    check_history(events(host))


def test_a_stopped_launcher_leaves_jobs_and_keeper_alone(host: Host) -> None:
    """[S20] [W7] A caller that has waited and gives up knows no outcome; the launcher goes on where it was."""
    with Peer(host.socket) as peer:
        job = peer.submit("a", "sh", "-c", "exit 3", keep_alive=True, throttle_s=0.0)
        ends = peer.submit("ends", "sh", "-c", "sleep 0.2; exit 4")
    launcher = launcher_pid(host)
    with Peer(host.socket, timeout_s=0.2) as accepted:
        accepted.call("GetStatus")
        os.kill(launcher, signal.SIGSTOP)
        accepted.send("Submit", {"spec": spec_of("late")})
        with pytest.raises(TimeoutError):
            accepted.reply()
        stop = host.popen("stop", "a")
        wait_for(lambda: not Path(f"/proc/{ends['pid']}").exists(), what="a job ends, and the keeper reaps it")
        os.kill(launcher, signal.SIGKILL)
        with pytest.raises(HungUp):
            accepted.reply()
    stop.communicate(timeout=20)
    assert stop.returncode == 0  # it was never accepted, so the next launcher answers it
    call(host.socket, "Wait", {"patterns": ["ends"]})
    assert jobs(host)["ends"]["exit"]["code"] == 4
    assert jobs(host)["a"]["restarts"] >= job["restarts"]
    call(host.socket, "Stop", {"patterns": ["a"]})
    check_history(events(host))
    check_processes(host)


def test_a_launcher_that_was_stopped_goes_on(host: Host) -> None:
    """[S20] [S25] Nothing that happened meanwhile is lost on a launcher that is only late."""
    with Peer(host.socket) as peer:
        pids = [peer.submit(f"a{number}", "sleep", "300")["pid"] for number in range(5)]
    launcher = launcher_pid(host)
    os.kill(launcher, signal.SIGSTOP)
    for pid in pids:
        kill(pid)
    os.kill(launcher, signal.SIGCONT)
    call(host.socket, "Wait", {"patterns": ["a*"]})
    assert [job["exit"]["signal"] for job in jobs(host).values()] == ["KILL"] * 5
    assert launcher_pid(host) == launcher


def test_a_stop_under_way_is_carried_on_by_the_next_launcher(host: Host) -> None:
    """[S21] [S4] [S6] Its grace goes on where it was, and KILL comes when it is due."""
    with Peer(host.socket) as peer:
        stubborn = "trap '' TERM; while :; do sleep 300; done"
        job = peer.submit("a", "sh", "-c", stubborn, stop_timeout_s=5, keep_alive=True)
        peer.send("Stop", {"patterns": ["a"]})
        wait_for(lambda: jobs(host)["a"]["state"] == "stopping", what="the stop begins")
        begun = boottime_s()
        kill_launcher(host)
        assert jobs(host)["a"]["pid"] == job["pid"]
        call(host.socket, "Wait", {"patterns": ["a"]})
        assert boottime_s() - begun < 25
    assert jobs(host)["a"]["exit"]["reason"] == "stopped"
    assert jobs(host)["a"]["exit"]["signal"] == "KILL"
    assert kinds(events(host, "a")) == ["job.submitted", "job.started", "job.stopping", "job.exited"]
    assert not jobs_processes(host)


# Five deaths for each keeper, since it starts launchers with growing delay when they die young.
@pytest.mark.parametrize("first", range(0, 20, 5))
def test_launchers_that_die_again_and_again_lose_nothing(host: Host, first: int) -> None:
    """[S21] [S5] [S8] Killed at many moments of a busy life; only what may be is ever seen."""
    with Peer(host.socket) as peer:
        for number in range(3):
            peer.submit(f"flaps{number}", "sh", "-c", "exit 1", keep_alive=True, throttle_s=0.0)
            peer.submit(f"lasts{number}", "sleep", "300")
    lasting = {label: job["pid"] for label, job in jobs(host).items() if label.startswith("lasts")}
    for number in range(first, first + 5):
        pid = launcher_pid(host)
        with Peer(host.socket) as peer:
            submit, stop = {"spec": spec_of(f"short{number}")}, {"patterns": [f"short{number}"]}
            peer.call("GetStatus")
            peer.socket.sendall(encode("Submit", submit) + encode("Stop", stop) + encode("Restart", stop))
            for _ in range(number % 4):
                peer.reply()
            _wait_for_events(host, number % 3 * (number // 3))
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not alive(pid), what="the launcher ends")  # noqa: B023 - called before it is bound anew
    call(host.socket, "Stop", {"patterns": ["flaps*"]})
    wait_for(lambda: {job["state"] for job in jobs(host).values()} <= {"running", "exited"}, what="all is settled")
    history = events(host)
    check_history(history)
    check_processes(host)
    assert {label: job["pid"] for label, job in jobs(host).items() if label.startswith("lasts")} == lasting
    assert kinds(history).count("launcher.restarted") == 5
    ended = [event["data"] for event in history if event["type"] == "io.relaunch.job.exited"]
    assert {data["code"] for data in ended if data["label"].startswith("flaps") and data["reason"] == "exited"} == {1}
    assert not [data for data in ended if data["reason"] == "unknown"]


def _wait_for_events(host: Host, count: int) -> None:
    """Wait until so many more events have come."""
    with Peer(host.socket) as peer:
        seen = 0
        peer.send("Events", {"follow": True}, more=True)
        while seen < count:
            seen += len(peer.answer()["events"])


# A keeper that dies while its launcher's program is still being loaded.
EARLY_DEATH = """
import os, socket, sys, time
keeper = os.getpid()
ours, its = socket.socketpair()
if os.fork() == 0:
    ours.close()
    while os.getppid() == keeper:
        time.sleep(0.01)
    places = ["--socket", "/nowhere", "--state", "/nowhere"]
    fds = ["--keeper-fd", str(its.fileno()), "--listen-fd", "0", "--lock-fd", "0"]
    its.set_inheritable(True)
    os.execv(sys.executable, [sys.executable, "-m", "relaunch.launcher", *places, *fds])
"""


def test_a_launcher_whose_keeper_is_dead_before_it_has_looked_ends() -> None:
    """[S22] [W10] It would hold the lock for ever, and nobody could serve any more."""
    with subprocess.Popen(
        [sys.executable, "-c", EARLY_DEATH], stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as keeper:
        try:
            _, said = keeper.communicate(timeout=20)  # the launcher has the pipe as well
        finally:
            with suppress(ProcessLookupError):
                os.killpg(keeper.pid, signal.SIGKILL)
    assert f"the keeper, {keeper.pid}, has ended" in said
