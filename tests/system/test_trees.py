"""Whole trees of processes are ended: forked, in other sessions, orphaned, deaf, stopped, or busy making more (S4)."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.system.evidence import (
    boottime_s,
    check_history,
    events,
    exits,
    jobs,
    jobs_processes,
    kill_launcher,
    kinds,
    ticks,
)
from tests.system.launcher_host import Host, alive, wait_for
from tests.system.peer import Peer, Refused, call

from relaunch.launcher.trees import Process, send_signal

# Each makes processes and then says how many it has made, itself included.
FORKED = "sleep 301 & sleep 302 & echo 3; wait"
OTHER_SESSION = "setsid sh -c 'sleep 301 & wait' & echo 3; wait"
ORPHANED = "(setsid sh -c 'sleep 301 & sleep 302' &); echo 4; exec sleep 303"
DEAF = "trap '' TERM; sh -c 'sleep 301; :' & (setsid sh -c 'sleep 302; :' &); echo 5; while :; do sleep 1; done"
STOPPED = "sleep 301 & kill -STOP $!; (setsid sh -c 'kill -STOP $$; :' &); echo 3; kill -STOP $$; :"
NO_MARK_OF_ITS_OWN = "env -i setsid /bin/sleep 301 & echo 2; wait"
TREES = {"forked": FORKED, "session": OTHER_SESSION, "orphaned": ORPHANED, "deaf": DEAF, "stopped": STOPPED}


def _tree(host: Host, label: str, script: str, **spec: Any) -> list[int]:
    """Submit a job and wait until its tree stands; gives its processes."""
    with Peer(host.socket) as peer:
        job = peer.submit(label, "sh", "-c", script, **spec)
    output = Path(job["output"])
    count = int(wait_for(lambda: output.read_text().strip(), what="the tree says how large it is"))
    wait_for(lambda: len(_described(host, label)) >= count, what=f"{label} has {count} processes")
    return [process["pid"] for process in _described(host, label)]


def _described(host: Host, label: str) -> list[dict[str, Any]]:
    processes: list[dict[str, Any]] = call(host.socket, "Describe", {"label": label})["processes"]
    return processes


@pytest.mark.parametrize("kind", TREES)
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_whole_tree_is_ended(host: Host, kind: str, how: str) -> None:
    """[S4] [S6] Nothing of it is there when the answer comes, and its end was waited for once."""
    tree = _tree(host, "a", TREES[kind], stop_timeout_s=1.0)
    ask = {"patterns": ["a"], "signal": "KILL"} if how == "kill" else {"patterns": ["a"]}
    begin = boottime_s()
    (outcome,) = call(host.socket, "Stop", ask)["outcomes"]
    assert (outcome["error"], outcome["job"]["state"]) == (None, "exited")
    assert not [pid for pid in tree if alive(pid)]
    assert not jobs_processes(host)
    assert boottime_s() - begin < 8
    killed = how == "kill" or kind == "deaf"
    assert outcome["job"]["exit"]["signal"] == ("KILL" if killed else "TERM")
    assert kinds(events(host, "a")) == ["job.submitted", "job.started", "job.stopping", "job.exited"]


def test_a_child_with_an_empty_environment_is_ended_with_its_parent(host: Host) -> None:
    """[S4] It descends from the job, whatever it carries."""
    tree = _tree(host, "a", NO_MARK_OF_ITS_OWN)
    assert len(tree) == 2
    call(host.socket, "Stop", {"patterns": ["a"]})
    assert not [pid for pid in tree if alive(pid)]


def test_processes_that_are_made_while_they_are_killed(host: Host) -> None:
    """[S4] [S6] Every process has children made anew as soon as they die; none is left."""
    breeder = (
        "import os, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "for _ in range(3):\n"
        "    if os.fork() == 0: os.setsid(); break\n"
        "print(3, flush=True)\n"
        "while True:\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        os.setsid(); time.sleep(0.02); os._exit(0)\n"
        "    os.waitpid(child, 0)\n"
    )
    with Peer(host.socket) as peer:
        job = peer.submit("a", sys.executable, "-c", breeder, stop_timeout_s=0.3)
    wait_for(lambda: len(jobs_processes(host)[job["id"]]) >= 5, what="they breed")
    (outcome,) = call(host.socket, "Stop", {"patterns": ["a"]})["outcomes"]
    assert (outcome["error"], outcome["job"]["state"]) == (None, "exited")
    assert not jobs_processes(host)


def test_what_outlives_the_first_process_is_ended(host: Host) -> None:
    """[S7] The signal, then KILL after the grace; the end is told as it was, and once."""
    with Peer(host.socket) as peer:
        meek = peer.submit("meek", "sh", "-c", "setsid sleep 301 & exit 3", stop_timeout_s=60.0)
        deaf = peer.submit("deaf", "sh", "-c", "trap '' TERM; setsid sleep 302 & exit 4", stop_timeout_s=0.5)
        begin = boottime_s()
        peer.call("Wait", {"patterns": ["meek", "deaf"]})
        assert boottime_s() - begin < 10
    assert not jobs_processes(host)
    assert meek["id"] != deaf["id"]
    for label, code in (("meek", 3), ("deaf", 4)):
        (end,) = exits(host, label)
        assert (end["reason"], end["code"]) == ("exited", code)


def test_an_orphan_whose_parent_ends_while_it_is_looked_for_is_ended(host: Host) -> None:
    """[S7] It falls to the keeper after that one's children were read, and nothing is left that leads to it."""
    count = 80
    with Peer(host.socket) as peer:
        for number in range(count):
            pause = f"sleep 0.00{number % 8};" if number % 2 else ""
            script = f"(setsid sh -c '{pause} sleep 301 & exit 0' &); exit 0"
            peer.submit(f"a{number}", "sh", "-c", script, stop_timeout_s=5.0)
        peer.call("Wait", {"patterns": ["a*"]})
    assert not jobs_processes(host)


def test_the_next_run_waits_for_what_is_left_of_the_last(host: Host) -> None:
    """[S7] [S8] [S9] Never are two runs there at once, by keep-alive or by restart."""
    script = "trap '' TERM; setsid sleep 301 & echo $LAUNCH_JOB_RUN; "
    with Peer(host.socket) as peer:
        peer.submit("kept", "sh", "-c", script + "exit 1", keep_alive=True, throttle_s=0.0, stop_timeout_s=0.3)
        peer.submit("lasts", "sh", "-c", script + "while :; do sleep 1; done", stop_timeout_s=0.3)
        for run in (2, 3):
            before = [process["pid"] for process in _described(host, "lasts")]
            (outcome,) = peer.call("Restart", {"patterns": ["lasts"]})["outcomes"]
            assert (outcome["error"], outcome["job"]["run"]) == (None, run)
            assert not [pid for pid in before if alive(pid)]
        wait_for(lambda: jobs(host)["kept"]["run"] >= 4, what="it is started again and again")
        peer.call("Stop", {"patterns": ["*"]})
    assert not jobs_processes(host)
    check_history(events(host))
    runs = Path(jobs(host)["kept"]["output"]).read_text().split()
    assert runs == [str(number + 1) for number in range(len(runs))]


@pytest.mark.parametrize("launcher_dies", [False, True])
def test_two_hundred_jobs_are_stopped_at_once(host: Host, launcher_dies: bool) -> None:
    """[S4] [S6] Each with a child in another session; in seconds, and none is left."""
    with Peer(host.socket) as peer:
        for number in range(200):
            peer.submit(f"a{number}", "sh", "-c", "setsid sleep 301 & exec sleep 300")
        wait_for(lambda: sum(map(len, jobs_processes(host).values())) == 400, what="all trees stand")
    if launcher_dies:
        kill_launcher(host)
    begin = boottime_s()
    outcomes = call(host.socket, "Stop", {"patterns": ["a*"]})["outcomes"]
    assert boottime_s() - begin < 15
    assert {(outcome["error"], outcome["job"]["state"]) for outcome in outcomes} == {(None, "exited")}
    assert len(outcomes) == 200
    assert not jobs_processes(host)


def test_a_stop_signal_that_only_the_first_process_is_deaf_to(host: Host) -> None:
    """[S4] [S6] The grace is its own to use, while its children end at once."""
    script = "trap 'sleep 0.5; exit 5' USR1; sleep 301 & echo 2; while :; do wait; done"
    _tree(host, "a", script, stop_signal="USR1", stop_timeout_s=30.0)
    (outcome,) = call(host.socket, "Stop", {"patterns": ["a"]})["outcomes"]
    assert (outcome["error"], outcome["job"]["exit"]["code"]) == (None, 5)


def test_the_grace_can_be_cut_short(host: Host) -> None:
    """[S4] [S6] A stop without end, and then a kill: both are answered."""
    _tree(host, "a", DEAF, stop_timeout_s=0.0)
    with Peer(host.socket) as first, Peer(host.socket) as second:
        first.send("Stop", {"patterns": ["a"]})
        wait_for(lambda: jobs(host)["a"]["state"] == "stopping", what="the first stop begins")
        assert second.call("Stop", {"patterns": ["a"], "signal": "KILL"})["outcomes"][0]["error"] is None
        assert first.answer()["outcomes"][0]["error"] is None
    assert not jobs_processes(host)


@pytest.fixture
def freezer(root: None, tmp_path: Path) -> Iterator[tuple[Path, Callable[[str], object]]]:
    """A file system that can be frozen: whoever writes to it then cannot even be killed."""
    image, mounted = tmp_path / "image", tmp_path / "mounted"
    mounted.mkdir()
    image.touch()
    os.truncate(image, 8 * 1024 * 1024)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, mounted], check=True)
    try:
        yield mounted, lambda option: subprocess.run(["fsfreeze", option, mounted], check=True)
    finally:
        subprocess.run(["fsfreeze", "-u", mounted], check=False, stderr=subprocess.DEVNULL)
        subprocess.run(["umount", "-l", mounted], check=True)


def test_a_process_that_cannot_be_killed_is_named(host: Host, freezer: tuple[Path, Callable[[str], object]]) -> None:
    """[S6] Five seconds after KILL the stop has failed, and says what is there; it is still the job's."""
    mounted, freeze = freezer
    with Peer(host.socket) as peer:
        pid = peer.submit("a", "sh", "-c", f"while :; do echo x > {mounted}/file; sleep 0.01; done")["pid"]
        freeze("-f")
        wait_for(lambda: _state(pid) == "D", what="it hangs in the kernel")
        (outcome,) = peer.call("Stop", {"patterns": ["a"], "timeout_s": 0.2})["outcomes"]
        assert outcome["error"] == "io.relaunch.Launcher.Survived"
        assert str(pid) in outcome["message"]
        assert outcome["job"]["state"] == "stopping"
        with pytest.raises(Refused, match="in use"):
            peer.submit("a")
        freeze("-u")
        peer.call("Wait", {"patterns": ["a"]})
        assert jobs(host)["a"]["exit"]["signal"] in ("TERM", "KILL")  # both waited for it
    assert kinds(events(host, "a"))[2:] == ["job.stopping", "job.survived", "job.exited"]


def test_signals_go_to_the_jobs_own_process(host: Host) -> None:
    """[S10] STOP and CONT too; and a job that has ended gets none."""
    with Peer(host.socket) as peer:
        pid = peer.submit("a", "sh", "-c", "trap 'echo got' USR1; sleep 301 & while :; do wait; done")["pid"]
        output = Path(jobs(host)["a"]["output"])
        wait_for(lambda: len(_described(host, "a")) == 2, what="it waits")
        peer.call("Signal", {"patterns": ["a"], "signal": "USR1"})
        wait_for(lambda: output.read_text() == "got\n", what="it got the signal")
        peer.call("Signal", {"patterns": ["a"], "signal": "STOP"})
        wait_for(lambda: _state(pid) == "T", what="it is stopped")
        peer.call("Signal", {"patterns": ["a"], "signal": "CONT"})
        wait_for(lambda: _state(pid) != "T", what="it goes on")
        peer.call("Stop", {"patterns": ["a"]})
        (outcome,) = peer.call("Signal", {"patterns": ["a"], "signal": "TERM"})["outcomes"]
        assert outcome["error"] == "io.relaunch.Launcher.NotRunning"


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_process_id_that_is_another_processs_by_now_gets_no_signal() -> None:
    """[S10] Known by its start time too."""
    with subprocess.Popen(["sleep", "300"]) as process:
        known = ticks(process.pid)
        assert not send_signal(Process(process.pid, known - 1), signal.SIGKILL)
        assert not send_signal(Process(process.pid, known + 1), signal.SIGKILL)
        assert process.poll() is None
        assert send_signal(Process(process.pid, known), signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not send_signal(Process(process.pid, known), signal.SIGKILL)
    assert not send_signal(Process(os.getpid(), 0), 0)
