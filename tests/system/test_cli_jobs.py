"""What a person types for jobs, as whole commands against a real launcher."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from tests.system.evidence import jobs
from tests.system.launcher_host import Host, alive, wait_for

FORKER = "sleep 1000 & setsid sleep 1000 & trap '' TERM; echo ready; while :; do sleep 1000; done"


@pytest.fixture
def host(shared: Host) -> Host:
    """Shared by all tests here, each with labels of its own."""
    return shared


def test_the_session_as_typed(fresh: Host) -> None:
    """[W6]"""
    labels = ["p1", "p2", "p3", "p4", "o1", "o2", "o3", "o4"]
    for label in labels:
        submitted = fresh.launch("submit", "-l", label, "-p", "sleep", "120")
        assert submitted.stdout == f"{label}: running, pid {fresh.job(label)['pid']}\n"
    lines = fresh.launch("list").stdout.splitlines()
    assert lines[0].split() == ["LABEL", "STATE", "PID", "UPTIME", "RESTARTS", "LAST", "EXIT", "PROGRAM"]
    assert sorted(line.split()[0] for line in lines[1:]) == sorted(labels)
    assert all(line.endswith("sleep 120") and " running " in line for line in lines[1:])
    assert fresh.launch("stop", "p1", "p2").stdout == "p1: stopped (TERM)\np2: stopped (TERM)\n"
    for typed in (["p3"], ["o1", "o2"], ["o3"], ["o4"]):
        fresh.launch("stop", *typed)
    assert {label for label, job in fresh.jobs().items() if job["state"] == "running"} == {"p4"}
    assert fresh.launch("shutdown").stdout == "the launcher has ended\n"
    assert fresh.launch("list", check=False).returncode == 3


def test_what_follows_the_program_is_its_own(host: Host) -> None:
    host.launch("submit", "-l", "dashes", "-p", "printf", "%s|", "-la", "--label", "x", "--", "-p", "--help")
    host.launch("wait", "dashes")
    assert host.launch("logs", "dashes").stdout == "-la|--label|x|--|-p|--help|"
    host.launch("submit", "-l", "after/dashes", "--", "sleep", "120")
    assert host.job("after/dashes")["argv"] == ["sleep", "120"]


def test_every_option_of_submit_reaches_the_job(host: Host) -> None:
    (host.place / "work").mkdir()
    (host.place / "in").write_text("from a file\n")
    script = "pwd; umask; ulimit -Sn; ulimit -Hn; nice; echo $LEVEL; cat; echo to stderr >&2"
    host.launch(
        *("submit", "-l", "github.com/relab/goxos/kvs/kvsd", "--env", "LEVEL=2=3", "--cwd", "work", "--umask", "027"),
        *("--limit", "nofile=100:200", "--nice", "3", "--stdin", "in", "--stdout", "out", "--stderr=err"),
        *("--stop-timeout", "1.5", "--throttle", "2", "--stop-signal", "INT", "--output-max", "64K"),
        *("-p", "sh", "-c", script),
        cwd=host.place,
    )
    host.launch("wait", "github.com/relab/goxos/kvs/kvsd")
    out = (host.place / "out").read_text().splitlines()
    assert out == [str(host.place / "work"), "0027", "100", "200", "3", "2=3", "from a file"]
    assert (host.place / "err").read_text() == "to stderr\n"
    spec = json.loads(host.launch("status", "github.com/relab/goxos/kvs/kvsd", "--json").stdout)["spec"]
    assert (spec["stop_timeout_s"], spec["throttle_s"], spec["stop_signal"]) == (1.5, 2.0, "INT")
    assert spec["output_bytes_max"] == 65536


def test_a_job_runs_where_the_caller_is(host: Host) -> None:
    (host.place / "here").mkdir()
    program = host.place / "here" / "prog"
    program.write_text("#!/bin/sh\necho $0; pwd\n")
    program.chmod(0o755)
    host.launch("submit", "-l", "here", "-p", "./prog", cwd=host.place / "here")
    host.launch("wait", "here")
    assert host.launch("logs", "here").stdout.splitlines()[1] == str(host.place / "here")


def test_bytes_that_are_no_text_come_back_as_they_went(host: Host) -> None:
    host.launch("submit", "-l", "bytes", "-p", "printf", "%s", "\udcff\udcfe é")
    host.launch("wait", "bytes")
    assert host.launch("logs", "bytes").stdout == "\udcff\udcfe é"
    (job,) = json.loads(host.launch("list", "--json", "bytes").stdout)
    assert job["argv"] == ["printf", "%s", "\udcff\udcfe é"]
    assert r"$'\xff\xfe é'" in host.launch("list").stdout


@pytest.mark.parametrize(
    ("typed", "status", "part"),
    [
        (["submit", "-l", "x", "-p", "no-such-program"], 1, "no-such-program"),
        (["submit", "-l", "x", "-p", "/etc/passwd"], 1, "/etc/passwd"),
        (["submit", "-l", "x", "--cwd", "/no/such", "-p", "ls"], 1, "/no/such"),
        (["submit", "-l", "x", "--stdin", "/no/such", "-p", "ls"], 1, "/no/such"),
        (["submit", "-l", "x", "--stdout", "/no/such", "-p", "ls"], 1, "/no/such"),
        (["submit", "-l", "used", "-p", "ls"], 1, "used"),
        (["submit", "-l", "a b", "-p", "ls"], 2, "' '"),
        (["submit", "-l", "../x", "-p", "ls"], 2, "'..'"),
        (["submit", "-l", "x*", "-p", "ls"], 2, "'*'"),
        (["submit", "-l", "x", "--stop-signal", "FOO", "-p", "ls"], 2, "'FOO'"),
        (["submit", "-l", "x", "--limit", "nofiles=3", "-p", "ls"], 2, "'nofiles'"),
        (["submit", "-l", "x", "--limit", "nofile=3:2", "-p", "ls"], 2, "soft"),
        (["submit", "-l", "x", "--nice", "99", "-p", "ls"], 2, "nice"),
        (["submit", "-l", "x", "--env", "LAUNCH_JOB_ID=1", "-p", "ls"], 2, "LAUNCH_JOB_ID"),
        (["stop", "nobody"], 1, "nobody"),
        (["stop", "[a"], 2, "'[a'"),
        (["stop", "--signal", "FOO", "used"], 2, "'FOO'"),
        (["restart", "nobody"], 1, "nobody"),
        (["signal", "FOO", "used"], 2, "'FOO'"),
        (["signal", "HUP", "nobody"], 1, "nobody"),
        (["signal", "HUP", "done"], 1, "done"),
        (["kill", "nobody"], 1, "nobody"),
        (["wait", "nobody"], 1, "nobody"),
        (["logs", "nobody"], 1, "nobody"),
        (["status", "nobody"], 1, "nobody"),
        (["list", "nobody"], 1, "nobody"),
        (["events", "[z-a]"], 2, "z-a"),
        (["events", "--since", "yesterday"], 2, "'yesterday'"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_a_status(host: Host, typed: list[str], status: int, part: str) -> None:
    """[W5][W6][W8][W9]"""
    host.launch("submit", "-l", "used", "-p", "sleep", "120")
    host.launch("submit", "-l", "done", "-p", "true")
    host.launch("wait", "done")
    done = host.launch(*typed, check=False)
    assert done.returncode == status
    assert done.stdout == ""
    assert done.stderr.startswith("launch: ")
    assert done.stderr.count("\n") == 1
    assert part in done.stderr
    assert host.job("used")["state"] == "running"


def test_a_finished_label_may_be_used_again(host: Host) -> None:
    """[W8]"""
    host.launch("submit", "-l", "again", "-p", "true")
    host.launch("wait", "again")
    host.launch("submit", "-l", "again", "-p", "sleep", "120")
    assert host.job("again")["state"] == "running"


def test_patterns_choose_across_slashes(fresh: Host) -> None:
    """[W9]"""
    for label in ("a/b/c", "a/x", "b"):
        fresh.launch("submit", "-l", label, "-p", "sleep", "120")
    for pattern, labels in {"a/*": {"a/b/c", "a/x"}, "*[bx]": {"a/x", "b"}}.items():
        assert {job["label"] for job in json.loads(fresh.launch("list", "--json", pattern).stdout)} == labels
    done = fresh.launch("stop", "a/*", "nobody", check=False)
    assert done.stdout == "a/b/c: stopped (TERM)\na/x: stopped (TERM)\n"
    assert done.stderr.count("\n") == 1
    assert done.returncode == 1
    assert fresh.job("b")["state"] == "running"


def test_stop_ends_the_whole_tree_with_the_signal_and_grace_asked_for(host: Host) -> None:
    host.launch("submit", "-l", "tree", "-p", "sh", "-c", FORKER)
    host.wait_for(lambda: "ready" in host.launch("logs", "tree").stdout, what="the job to be ready")
    pids = [process["pid"] for process in json.loads(host.launch("status", "tree", "--json").stdout)["processes"]]
    assert len(pids) >= 4
    begin = time.monotonic()
    assert host.launch("stop", "--timeout", "0.2", "tree").stdout == "tree: stopped (KILL)\n"
    assert time.monotonic() - begin < 10
    assert not any(map(alive, pids))
    host.launch("submit", "-l", "usr", "-p", "sleep", "120")
    assert host.launch("stop", "--signal", "USR1", "usr").stdout == "usr: stopped (USR1)\n"


def test_kill_ends_the_whole_tree_at_once(host: Host) -> None:
    host.launch("submit", "-l", "tree", "-p", "sh", "-c", FORKER)
    host.wait_for(lambda: "ready" in host.launch("logs", "tree").stdout, what="the job to be ready")
    pids = [process["pid"] for process in json.loads(host.launch("status", "tree", "--json").stdout)["processes"]]
    assert host.launch("kill", "tree").stdout == "tree: stopped (KILL)\n"
    assert not any(map(alive, pids))


def test_stopping_what_has_finished_is_fine_and_says_so(host: Host) -> None:
    host.launch("submit", "-l", "short", "-p", "sh", "-c", "exit 3")
    host.launch("wait", "short", check=False)
    assert host.launch("stop", "short").stdout == "short: had finished before (code 3)\n"


def test_restart_gives_a_new_process(host: Host) -> None:
    host.launch("submit", "-l", "p1", "-p", "sleep", "120")
    before = host.job("p1")["pid"]
    done = host.launch("restart", "p1")
    job = host.job("p1")
    assert job["pid"] != before
    assert done.stdout == f"p1: running, pid {job['pid']}\n"
    host.launch("stop", "p1")
    host.launch("restart", "p1")
    assert host.job("p1")["state"] == "running"


def test_signals_stop_and_continue(host: Host) -> None:
    host.launch("submit", "-l", "p1", "-p", "sleep", "120")
    pid = host.job("p1")["pid"]

    def state() -> str:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]

    assert host.launch("signal", "STOP", "p1").stdout == "p1: STOP sent\n"
    host.wait_for(lambda: state() == "T", what="the job to be stopped")
    host.launch("signal", "sigcont", "p1")
    host.wait_for(lambda: state() == "S", what="the job to go on")
    host.launch("signal", "9", "p1")
    assert host.launch("wait", "p1", check=False).returncode == 128 + signal.SIGKILL


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -SEGV $$", 139)]
)
def test_wait_exits_as_the_job_did(host: Host, script: str, status: int) -> None:
    """[W6]"""
    waiting = host.popen("run", "-l", "first", "--", "sh", "-c", "exit 0")
    assert waiting.wait() == 0
    host.launch("submit", "-l", "job", "-p", "sh", "-c", script)
    assert host.launch("wait", "job", check=False).returncode == status
    assert host.launch("wait", "first", "job", check=False).returncode == status
    jobs = json.loads(host.launch("wait", "--json", "job", check=False).stdout)
    assert [job["label"] for job in jobs] == ["job"]


def test_wait_says_that_a_job_could_not_start(host: Host) -> None:
    """[W6]"""
    host.launch("submit", "-l", "bad", "-p", "/no/such", check=False)
    assert host.launch("wait", "bad", check=False).returncode == 1


def test_waiting_outlasts_the_launcher(host: Host) -> None:
    host.launch("submit", "-l", "p1", "-p", "sleep", "120")
    waiting = host.popen("wait", "p1")
    os.kill(host.launcher_pid, signal.SIGKILL)
    host.launch("signal", "INT", "p1")
    assert waiting.wait(20) == 128 + signal.SIGINT


def test_logs_are_followed_until_the_job_has_finished(host: Host) -> None:
    fifo = host.place / "fifo"
    os.mkfifo(fifo)
    host.launch("submit", "-l", "p1", "--", "sh", "-c", f"echo one; echo two; read line < {fifo}; printf $line")
    following = host.popen("logs", "-f", "-n", "1", "p1")
    assert following.stdout is not None
    assert following.stdout.readline() == "two\n"
    fifo.write_text("three\n")
    assert following.stdout.read() == "three"
    assert following.wait() == 0
    assert host.launch("logs", "p1").stdout == "one\ntwo\nthree"
    assert host.launch("logs", "-n", "2", "p1").stdout == "two\nthree"
    assert host.launch("logs", "-n", "0", "p1").stdout == ""


def test_list_shows_what_there_is_and_names_what_is_not(fresh: Host) -> None:
    """[W6] [W9] [W13]"""
    for label in ("ab", "aa"):
        fresh.launch("submit", "-l", label, "--", "sleep", "120")
    shown = fresh.launch("list", "ab", "nobody", "aa", check=False)
    assert (shown.returncode, shown.stderr) == (1, "launch: no job has the label nobody\n")
    assert [line.split()[0] for line in shown.stdout.splitlines()] == ["LABEL", "ab", "aa"]
    told = fresh.launch("list", "--json", "a*", "z*", "abc", check=False)
    assert [job["label"] for job in json.loads(told.stdout)] == ["aa", "ab"]
    assert told.returncode == 1
    assert told.stderr == "launch: no label matches 'z*'\nlaunch: no job has the label abc; did you mean ab?\n"
    none = fresh.launch("list", "x", "y", check=False)
    assert (none.stdout, none.returncode, none.stderr.count("no job has the label")) == ("", 1, 2)


def test_run_shows_the_output_and_exits_as_the_job_did(fresh: Host) -> None:
    """[W6]"""
    done = fresh.launch("run", "--", "sh", "-c", "echo out; exit 7", check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "", 7)
    (label,) = fresh.jobs("run/*")
    assert label.startswith("run/sh-")
    done = fresh.launch("run", "-l", "named", "-p", "sh", "-c", "kill -KILL $$", check=False)
    assert (done.stdout, done.returncode) == ("", 137)
    assert done.stderr == "launch: named ended: KILL\n"
    done = fresh.launch("run", "--stdout", str(fresh.place / "out"), "--", "echo", "elsewhere")
    assert done.stdout == ""
    assert (fresh.place / "out").read_text() == "elsewhere\n"
    assert fresh.launch("run", "-p", "no-such-program", check=False).returncode == 1


def test_run_shows_nothing_of_earlier_jobs_of_its_label(fresh: Host) -> None:
    """[W6]"""
    for text in ("one", "two", "three"):
        assert fresh.launch("run", "-l", "again", "--", "echo", text).stdout == f"{text}\n"
    assert fresh.launch("logs", "again").stdout == "one\ntwo\nthree\n"


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2"])
def test_run_passes_signals_on(fresh: Host, name: str) -> None:
    script = f"trap 'echo got {name}; exit 9' {name}; echo ready; while :; do sleep 0.01; done"
    running = fresh.popen("run", "-l", "p1", "--", "bash", "-c", script)
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    running.send_signal(getattr(signal, f"SIG{name}"))
    assert running.stdout.read() == f"got {name}\n"
    assert running.wait(20) == 9


def test_run_ends_a_kept_job_that_is_between_two_runs(fresh: Host) -> None:
    """[W13] Nothing is there that the signal could end: the job is stopped, and `run` with it."""
    running = fresh.popen("run", "-l", "p1", "--keep-alive", "--", "sh", "-c", "echo once; exit 3")
    wait_for(lambda: "p1" in jobs(fresh) and jobs(fresh)["p1"]["state"] == "backoff", what="its first run is over")
    running.send_signal(signal.SIGUSR1)
    assert running.stderr is not None
    assert running.stderr.readline() == "launch: p1: the signal was not passed on: p1 is not running (backoff)\n"
    running.send_signal(signal.SIGTERM)
    assert running.wait(20) == 3
    assert fresh.job("p1")["state"] == "exited"


def test_run_tells_the_job_that_its_reader_has_gone(fresh: Host) -> None:
    running = fresh.popen("run", "-l", "p1", "--", "sh", "-c", "while :; do echo line; sleep 0.01; done")
    assert running.stdout is not None
    assert running.stdout.readline() == "line\n"
    running.stdout.close()
    assert running.wait(20) == 128 + signal.SIGPIPE


def test_run_ends_a_kept_job_whose_reader_has_gone(fresh: Host) -> None:
    """[W13] As where its output goes to `head`, though the job be between two runs when that is noticed."""
    running = fresh.popen("run", "-l", "p1", "--keep-alive", "--throttle", "0.2", "--", "sh", "-c", "echo line; exit 3")
    assert running.stdout is not None
    assert running.stdout.readline() == "line\n"
    running.stdout.close()
    running.wait(20)
    assert fresh.job("p1")["state"] == "exited"


def test_status_of_a_job_tells_everything(host: Host) -> None:
    """[W13]"""
    host.launch("submit", "-l", "p1", "--env", "A=b", "--umask", "022", "-p", "sleep", "120")
    job = json.loads(host.launch("status", "p1", "--json").stdout)
    assert job["state"] == "running"
    assert job["spec"]["env"] == {"A": "b"}
    assert [process["pid"] for process in job["processes"]] == [job["pid"]]
    shown = host.launch("status", "p1").stdout
    for part in ("running, pid", "sleep 120", "A=b", "022", job["id"]):
        assert part in shown
    host.launch("stop", "p1")
    assert "TERM (stopped)" in host.launch("status", "p1").stdout


def test_status_of_the_launcher(host: Host) -> None:
    """[W13]"""
    status = json.loads(host.launch("status", "--json").stdout)
    assert status["socket"] == str(host.socket)
    assert alive(status["keeper_pid"])
    assert alive(status["launcher_pid"])
    shown = host.launch("status").stdout
    for part in (f"pid {status['keeper_pid']}", f"pid {status['launcher_pid']}", str(host.socket), status["boot_id"]):
        assert part in shown


def test_events_are_shown_for_people_and_for_programs(host: Host) -> None:
    host.launch("submit", "-l", "p1", "-p", "sh", "-c", "exit 3")
    host.launch("wait", "p1", check=False)
    shown = host.launch("events", "p1").stdout
    assert "job.exited" in shown
    assert "code 3" in shown
    host.launch("submit", "-l", "crashes", "-p", "sh", "-c", "kill -SEGV $$")
    host.launch("wait", "crashes", check=False)
    assert host.launch("events", "crashes").stdout.rstrip("\n").endswith(", crashed, signal SEGV")
    events = host.events("p1")
    assert events[-1]["type"] == "io.relaunch.job.exited"
    assert events[-1]["data"]["code"] == 3
    assert {event["subject"] for event in events} == {"p1"}
    assert host.events("-n", "1", "p1") == events[-1:]
    sequence = events[0]["id"].rpartition("/")[2]
    assert host.events("--since", sequence, "p1") == events[1:]
    assert host.events("--since", "10m", "p1") == events
    assert host.events("--since", events[0]["time"], "p1") == events
    assert host.events("--since", "2999-01-01", "p1") == []


def test_events_are_followed_over_a_replaced_launcher(fresh: Host) -> None:
    following = fresh.popen("events", "-f", "--json", "p*")
    fresh.launch("submit", "-l", "p1", "-p", "true")
    fresh.launch("wait", "p1")
    os.kill(fresh.launcher_pid, signal.SIGKILL)
    fresh.launch("submit", "-l", "p2", "-p", "true")
    assert following.stdout is not None
    seen: list[tuple[str, str]] = []
    while ("p2", "io.relaunch.job.exited") not in seen:
        event = json.loads(following.stdout.readline())
        seen.append((event["subject"], event["type"]))
    assert seen.count(("p1", "io.relaunch.job.exited")) == 1
    assert seen.count(("p2", "io.relaunch.job.started")) == 1
    fresh.launch("shutdown")
    assert following.wait(20) == 0


def test_shutdown_may_leave_jobs_for_the_next_launcher(host: Host) -> None:
    host.launch("submit", "-l", "p1", "-p", "sleep", "120")
    pid = host.job("p1")["pid"]
    assert host.launch("shutdown", "--leave-jobs").stdout == "the launcher has ended; its jobs run on\n"
    assert alive(pid)
    host.serve()
    assert host.job("p1")["pid"] == pid


def test_a_signal_for_a_glob_leaves_out_what_has_finished(host: Host) -> None:
    """[W9] Named, a finished job is refused."""
    host.launch("submit", "-l", "g/done", "-p", "true")
    host.launch("wait", "g/done")
    host.launch("submit", "-l", "g/up", "-p", "sleep", "120")
    assert "g/done" not in host.launch("signal", "CONT", "g/*").stdout
    refused = host.launch("signal", "CONT", "g/done", check=False)
    assert (refused.returncode, "g/done is not running" in refused.stderr) == (1, True)


def test_the_last_events_are_so_many(host: Host) -> None:
    """[J1] Though more may come while they are read."""
    for _ in range(3):
        host.launch("run", "-l", "again", "--", "true")
    assert len(host.launch("events", "-n", "4", "again").stdout.splitlines()) == 4
