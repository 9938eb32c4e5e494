"""The death of the keeper, planned ends and reboots: the next one takes up what is there, by more than a pid (S22)."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tests.system.evidence import (
    check_history,
    check_processes,
    end_stragglers,
    environment,
    events,
    exits,
    jobs,
    jobs_processes,
    kill,
    kill_launcher,
    kinds,
    launcher_pid,
    parent,
)
from tests.system.launcher_host import Host, alive, wait_for
from tests.system.peer import Peer, call

from relaunch.launcher.journal_file import put_document
from relaunch.launcher.trees import is_ours

NOBODY = 65534
# Two children that call setsid, one of which outlives its own parent; then the first process itself.
TREE = "setsid sleep 301 & (setsid sleep 302 &) ; exec sleep 300"


def _keeper(host: Host) -> int:
    return int(call(host.socket, "GetStatus")["status"]["keeper_pid"])


def _kill_keeper(host: Host) -> None:
    keeper, launcher = _keeper(host), launcher_pid(host)
    kill(keeper)
    wait_for(lambda: not alive(launcher), what="the kernel ends the launcher with its keeper")


def _kill_both(host: Host) -> None:
    keeper, launcher = _keeper(host), launcher_pid(host)
    os.kill(keeper, signal.SIGSTOP)
    kill(launcher)
    kill(keeper)


@pytest.mark.parametrize("deaths", [_kill_keeper, _kill_both])
def test_the_next_keeper_adopts_the_survivors(host: Host, deaths: Callable[[Host], None]) -> None:
    """[S22] [S21] The same processes; how they end later comes from the kernel, what ended meanwhile is unknown."""
    with Peer(host.socket) as peer:
        for number in range(5):
            peer.submit(f"lasts{number}")
            peer.submit(f"gone{number}")
        peer.submit("code", "sh", "-c", "trap 'exit 9' USR1; while :; do sleep 0.01; done")
    before = jobs(host)
    deaths(host)
    for number in range(5):
        kill(before[f"gone{number}"]["pid"])
    host.serve()
    after = jobs(host)
    wait_for(lambda: all(jobs(host)[f"gone{n}"]["state"] == "exited" for n in range(5)), what="ends are found")
    assert [after[f"lasts{n}"]["pid"] for n in range(5)] == [before[f"lasts{n}"]["pid"] for n in range(5)]
    assert {end["reason"] for n in range(5) for end in exits(host, f"gone{n}")} == {"unknown"}
    assert after["code"]["pid"] == before["code"]["pid"]
    assert parent(after["code"]["pid"]) != _keeper(host)
    os.kill(before["code"]["pid"], signal.SIGUSR1)
    os.kill(before["lasts0"]["pid"], signal.SIGKILL)
    call(host.socket, "Wait", {"patterns": ["code", "lasts0"]})
    ends = [jobs(host)[label]["exit"] for label in ("code", "lasts0")]
    assert [(end["reason"], end["code"], end["signal"]) for end in ends] == [
        ("exited", 9, None),
        ("crashed", None, "KILL"),
    ]
    call(host.socket, "Stop", {"patterns": ["lasts1"]})
    assert jobs(host)["lasts1"]["exit"]["signal"] == "TERM"
    check_history(events(host))
    check_processes(host)


@pytest.mark.parametrize("meanwhile", ["nothing", "the launcher dies again"])
def test_the_whole_tree_of_an_adopted_job_is_stopped(host: Host, meanwhile: str) -> None:
    """[S22] [S4] [S6] Children that called setsid are no children of the new keeper, and are found all the same."""
    with Peer(host.socket) as peer:
        job = peer.submit("a", "sh", "-c", TREE)
    wait_for(lambda: len(jobs_processes(host)[job["id"]]) == 3, what="the tree stands")
    tree = jobs_processes(host)[job["id"]]
    _kill_keeper(host)
    host.serve()
    if meanwhile != "nothing":
        kill(launcher_pid(host))
    assert jobs(host)["a"]["pid"] == job["pid"]
    (outcome,) = call(host.socket, "Stop", {"patterns": ["a"]})["outcomes"]
    assert (outcome["error"], outcome["job"]["state"]) == (None, "exited")
    assert not [pid for pid in tree if alive(pid)]


def test_what_is_left_of_a_tree_is_ended_by_the_next_keeper(host: Host) -> None:
    """[S22] [S7] The first process ended while nobody served; its children do not live on as nobody's."""
    with Peer(host.socket) as peer:
        job = peer.submit("a", "sh", "-c", TREE)
        ending = peer.submit("ending", "sh", "-c", "trap '' TERM; setsid sleep 303 & exit 0", stop_timeout_s=60.0)
    wait_for(lambda: len(jobs_processes(host)[job["id"]]) == 3, what="the tree stands")
    wait_for(lambda: jobs(host)["ending"]["state"] == "ending", what="the other one ends")
    tree = [*jobs_processes(host)[job["id"]], *jobs_processes(host)[ending["id"]]]
    assert len(tree) == 4
    _kill_keeper(host)
    kill(job["pid"])
    host.serve()
    call(host.socket, "Wait", {"patterns": ["a"]})
    assert [pid for pid in tree if alive(pid)] == jobs_processes(host)[ending["id"]] != []
    call(host.socket, "Stop", {"patterns": ["ending"], "signal": "KILL"})
    assert not jobs_processes(host)
    check_history(events(host))


def test_kept_jobs_that_died_with_the_keeper_are_started_again(host: Host) -> None:
    """[S22] [S8]"""
    with Peer(host.socket) as peer:
        before = peer.submit("a", keep_alive=True, throttle_s=0.0)["pid"]
    _kill_keeper(host)
    kill(before)
    host.serve()
    wait_for(lambda: jobs(host)["a"]["state"] == "running", what="it runs again")
    assert jobs(host)["a"]["restarts"] == 1
    check_history(events(host))
    check_processes(host)


def test_jobs_are_left_and_taken_up_again(host: Host) -> None:
    """[S13] [S22] ``shutdown --leave-jobs``, and the next ``serve``."""
    with Peer(host.socket) as peer:
        pids = [peer.submit(f"a{number}")["pid"] for number in range(3)]
    keeper = _keeper(host)
    host.launch("shutdown", "--leave-jobs")
    wait_for(lambda: not alive(keeper), what="the keeper ends")
    assert not host.socket.exists()
    assert all(map(alive, pids))
    host.serve()
    assert [job["pid"] for job in jobs(host).values()] == pids
    history = events(host)
    assert kinds(history)[-2:] == ["launcher.stopped", "launcher.started"]
    assert history[-2]["data"]["jobs_left"] is True
    check_history(history)
    check_processes(host)


def test_the_launcher_is_replaced_and_jobs_keep_their_processes(host: Host) -> None:
    """[S21] [W2] ``serve --replace`` while calls come in: each is answered, by the old or by the new one."""
    with Peer(host.socket) as peer:
        pids = {f"a{number}": peer.submit(f"a{number}")["pid"] for number in range(5)}
    first, keeper = launcher_pid(host), _keeper(host)
    with host.popen("serve", "--replace") as replacing:
        while replacing.poll() is None:
            with Peer(host.socket) as peer:
                try:
                    peer.send("List")
                except BrokenPipeError:  # nothing was read: this is no unknown outcome
                    continue
                assert {job["label"]: job["pid"] for job in peer.answer()["jobs"]} == pids
        said, complaint = replacing.communicate()
    assert replacing.returncode == 0, complaint
    second = launcher_pid(host)
    assert said == f"the launcher was replaced: pid {second} after {first}\n"
    assert _keeper(host) == keeper
    assert {label: job["pid"] for label, job in jobs(host).items()} == pids
    check_processes(host)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("launcher_dies", [False, True])
def test_a_termination_signal_ends_everything_in_order(host: Host, number: int, launcher_dies: bool) -> None:
    """[S25] [S13] To the keeper, across the launcher's death too: jobs, journal, launcher, keeper."""
    with Peer(host.socket) as peer:
        for count in range(5):
            peer.submit(f"a{count}", "sh", "-c", TREE, keep_alive=True)
    keeper, launcher = _keeper(host), launcher_pid(host)
    if launcher_dies:
        os.kill(launcher, signal.SIGSTOP)
    os.kill(keeper, number)
    if launcher_dies:
        kill(launcher)
    wait_for(lambda: not alive(keeper), what="the keeper ends")
    assert not host.processes()
    assert not host.socket.exists()
    host.serve()
    history = events(host)
    check_history(history)
    assert kinds(history)[-2:] == ["launcher.stopped", "launcher.started"]
    ends = [event["data"] for event in history if event["type"] == "io.relaunch.job.exited"]
    assert [data["reason"] for data in ends] == ["shutdown"] * 5


def _pretend_reboot(host: Host) -> None:
    """Have the journal say that all of it happened in another boot, one that had lasted for months."""
    with closing(sqlite3.connect(host.state / "journal.db")) as journal, journal:
        journal.execute("UPDATE events SET boot_id = '11111111-2222-3333-4444-555555555555'")
        for job_id, text in journal.execute("SELECT id, document FROM documents").fetchall():
            document = json.loads(text)
            if ":" in job_id:  # no job's
                continue
            for name in {"since", "started", "retry_at"} & set(document["state_data"]):
                document["state_data"][name] += 90 * 86400
            put_document(journal, job_id, json.dumps(document))


def test_jobs_of_an_earlier_boot_have_ended(host: Host) -> None:
    """[S22] [S8] Ends unknown, kept ones started again at once, and no process of now is taken for one of then."""
    with Peer(host.socket) as peer:
        same_pid = peer.submit("once")["pid"]
        kept = peer.submit("kept", keep_alive=True)["pid"]
        peer.submit("waits", "true", keep_alive=True, throttle_s=3600.0)
        peer.submit("stubborn", "sh", "-c", "trap '' TERM; while :; do sleep 300; done", stop_timeout_s=0.0)
        peer.send("Stop", {"patterns": ["stubborn"]})
        wait_for(lambda: jobs(host)["waits"]["state"] == "backoff", what="it waits")
        wait_for(lambda: jobs(host)["stubborn"]["state"] == "stopping", what="it is being stopped")
        _kill_keeper(host)
    processes = host.processes()
    _pretend_reboot(host)
    try:
        host.serve()
        wait_for(lambda: jobs(host)["kept"]["state"] == "running", what="the kept one runs again")
        wait_for(lambda: jobs(host)["waits"]["restarts"] == 1, what="the one that waited runs again")
        now = jobs(host)
        assert (now["once"]["state"], now["once"]["exit"]["reason"]) == ("exited", "unknown")
        assert now["stubborn"]["state"] == "exited"
        assert now["kept"]["pid"] != kept
        assert now["kept"]["restarts"] == 1
        assert alive(same_pid)
        history = events(host)
        check_history(history)
        boots = [event["data"]["boot_id"] for event in history]
        assert len(set(boots)) == 2
        assert boots[-1] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    finally:
        end_stragglers(processes)


def test_a_process_that_no_journal_knows_is_taken_in(host: Host) -> None:
    """[J4] [S22] The journal was taken away while nobody served; what runs is a job again, under its label."""
    with Peer(host.socket) as peer:
        job = peer.submit("group/a", "sh", "-c", TREE)
    wait_for(lambda: len(jobs_processes(host)[job["id"]]) == 3, what="the tree stands")
    host.launch("shutdown", "--leave-jobs")
    wait_for(lambda: not host.socket.exists(), what="the launcher ends")
    wait_for(lambda: len(host.processes()) == 3, what="the keeper ends")
    for path in host.state.glob("journal.db*"):
        path.unlink()
    host.serve()
    taken = jobs(host)["group/a"]
    assert (taken["pid"], taken["id"], taken["state"]) == (job["pid"], job["id"], "running")
    assert environment(job["pid"])["LAUNCH_JOB_LABEL"] == "group/a"
    call(host.socket, "Stop", {"patterns": ["group/a"]})
    assert not jobs_processes(host)


@pytest.mark.usefixtures("root")
def test_a_process_of_another_user_is_not_taken_in(host: Host) -> None:
    """[J4] [W4] Whatever marks it bears: a restart would execute, as this user, what that one has chosen."""
    marks = {"SOCKET": str(host.socket), "ID": "0123456789abcdef", "RUN": "1", "LABEL": "a"}
    env = {"PATH": os.environ["PATH"]} | {f"LAUNCH_JOB_{name}": value for name, value in marks.items()}
    with subprocess.Popen(["sleep", "300"], env=env, user=NOBODY, start_new_session=True, cwd="/") as process:
        kill_launcher(host)
        assert not jobs(host)
        process.kill()


@pytest.mark.usefixtures("root")
def test_whose_a_process_is(tmp_path: Path) -> None:
    """[J4] By every id of it, and not by what a set-user-id program has brought."""
    elevated = tmp_path / "sleep"
    shutil.copy(shutil.which("sleep") or "", elevated)
    elevated.chmod(0o4755)
    for program, user, ours in [("sleep", 0, True), ("sleep", NOBODY, False), (str(elevated), 0, False)]:
        with subprocess.Popen([program, "300"], user=user, cwd="/") as process:
            assert is_ours(process.pid) == ours
            process.kill()
