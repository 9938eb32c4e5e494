"""Up is not ready: the four ways in which a job shows that it is, for real, and what follows."""

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from tests.system.becoming_ready import PYTHON, SAY, TELL, WAYS, state, told, way
from tests.system.evidence import (
    environment,
    events,
    jobs,
    kill,
    kill_launcher,
    launcher_pid,
)
from tests.system.launcher_host import Host, alive, children, wait_for
from tests.system.peer import Message, Peer, call


@pytest.fixture
def host(shared: Host) -> Host:
    """One launcher for the whole file."""
    return shared


@pytest.fixture
def go(tmp_path: Path) -> Path:
    """What jobs wait for; they are ready when it is there."""
    return tmp_path / "go"


def submit(host: Host, label: str, *argv: str, **spec: Any) -> Message:
    with Peer(host.socket) as peer:
        return peer.submit(label, *argv, **spec)


def until(host: Host, label: str, word: str) -> None:
    wait_for(lambda: state(host, label) == word, what=f"{label} is {word}")


def ready_processes(host: Host) -> list[int]:
    """Every living process of commands that tell whether a job is ready."""
    return [pid for pid in host.processes() if "LAUNCH_READY_OF" in environment(pid) and alive(pid)]


@pytest.mark.parametrize("name", WAYS)
def test_a_job_is_ready_when_it_shows_it(host: Host, go: Path, name: str) -> None:
    """[S36] [S39] Running until then, ready from then on, and one event tells of it."""
    argv, ready = way(name, go)
    job = submit(host, name, *argv, ready=ready)
    assert job["state"] == "running"
    with Peer(host.socket) as peer:
        peer.send("AwaitReady", {"patterns": [name]})
        assert state(host, name) == "running"
        go.touch()
        (outcome,) = peer.answer()["outcomes"]
    assert (outcome["job"]["state"], outcome["job"]["pid"]) == ("ready", job["pid"])
    assert told(host, name) == ["job.submitted", "job.started", "job.ready"]
    data = events(host, name)[-1]["data"]
    assert data["pid"] == job["pid"]
    assert data["after_s"] > 0
    assert f"{name} ready" in " ".join(host.launch("list", name).stdout.split())
    assert "ready" in host.launch("status", name).stdout
    assert json.loads(host.launch("list", "--json", name).stdout)[0]["state"] == "ready"


@pytest.mark.parametrize("name", WAYS)
def test_a_new_launcher_goes_on_looking(host: Host, go: Path, name: str) -> None:
    """[S39] [S21] It shows it while no launcher is there, or after; once it has, that stays so, and is told once."""
    argv, ready = way(name, go)
    pid = submit(host, name, *argv, ready=ready)["pid"]
    kill_launcher(host)
    assert state(host, name) == "running"
    before = launcher_pid(host)
    os.kill(before, signal.SIGSTOP)
    go.touch()
    kill(before)
    until(host, name, "ready")
    kill_launcher(host)
    assert (state(host, name), jobs(host)[name]["pid"]) == ("ready", pid)
    assert told(host, name).count("job.ready") == 1
    assert not ready_processes(host)


@pytest.mark.parametrize("name", WAYS)
def test_each_run_has_to_show_it_anew(host: Host, go: Path, name: str) -> None:
    """[S36] What an earlier run has printed or said counts for nothing, after the launcher's death too."""
    argv, ready = way(name, go)
    submit(host, name, *argv, ready=ready)
    go.touch()
    until(host, name, "ready")
    go.unlink()
    with Peer(host.socket) as peer:
        peer.call("Restart", {"patterns": [name]})
    kill_launcher(host)
    # A look of each kind has been taken by the time that another job, which came later, is found to be ready.
    submit(host, "other", "sh", "-c", "echo yes; exec sleep 300", ready={"log_line": "yes"})
    until(host, "other", "ready")
    assert state(host, name) == "running"
    go.touch()
    until(host, name, "ready")
    assert told(host, name).count("job.ready") == 2


def test_a_job_that_is_not_ready_in_time_stays_up(host: Host, go: Path) -> None:
    """[S36] An event tells of it, once; later it may be ready all the same."""
    argv, ready = way("command", go)
    pid = submit(host, "late", *argv, ready=ready | {"timeout_s": 0.2})["pid"]
    with Peer(host.socket) as peer:
        (outcome,) = peer.call("AwaitReady", {"patterns": ["late"]})["outcomes"]
    assert outcome["error"] == "io.relaunch.Launcher.NotReady"
    assert "late is not ready: running" in outcome["message"]
    go.touch()
    until(host, "late", "ready")
    assert jobs(host)["late"]["pid"] == pid
    assert told(host, "late") == ["job.submitted", "job.started", "job.not-ready", "job.ready"]


def test_an_end_before_it_is_ready_is_told_to_those_who_wait(host: Host) -> None:
    """[S36] They are told why, at once; a run that has ended is not looked at any more."""
    with Peer(host.socket) as peer:
        peer.submit("brief", "sh", "-c", "exec sleep 300", ready={"command": ["false"]})
        pid = jobs(host)["brief"]["pid"]
        peer.send("AwaitReady", {"patterns": ["brief"]})
        assert state(host, "brief") == "running"
        kill(pid)
        (outcome,) = peer.answer()["outcomes"]
    assert outcome["message"] == "brief is not ready: exited, the last run ended with signal KILL"
    wait_for(lambda: not ready_processes(host), what="its command is tried no more")


def test_what_depends_on_it_starts_then(host: Host, go: Path) -> None:
    """[S34] Not when it is up, but when it is ready."""
    argv, ready = way("notify", go)
    submit(host, "first", *argv, ready=ready)
    job = submit(host, "second", depends_on=["first"])
    assert (job["state"], job["waits_for"]) == ("waiting", ["first"])
    kill_launcher(host)
    assert state(host, "second") == "waiting"
    go.touch()
    until(host, "second", "running")
    order = [
        (event["subject"], event["type"].removeprefix("io.relaunch.job.")) for event in events(host, "first", "second")
    ]
    assert order.index(("first", "ready")) < order.index(("second", "started"))


# Notices


def test_a_child_speaks_for_its_job_and_a_stranger_for_none(host: Host, go: Path) -> None:
    """[S39] Children, and those that are nobody's child any more; no other process of the user, and no other job."""
    speak = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork(): os._exit(0)\n"
    child = speak + "    " + SAY.replace("\n", "\n    ") + "\n    say(b'READY=1')\n    time.sleep(300)\ntime.sleep(300)"
    pid = submit(host, "parent", *PYTHON, child, str(go), ready={"notify": True})["pid"]
    address = environment(pid)["NOTIFY_SOCKET"]
    go.touch()
    until(host, "parent", "ready")
    go.unlink()
    submit(host, "spoofed", *PYTHON, TELL, str(go), ready={"notify": True})
    go.with_name("now").touch()
    say = [*PYTHON, SAY + "say(b'READY=1'); say(b'\\xff' * 9000); say(b''); time.sleep(300)", str(go.with_name("now"))]
    stranger = subprocess.Popen(say, env={"NOTIFY_SOCKET": address})
    other = submit(host, "other", *say, env={"NOTIFY_SOCKET": address, "PATH": os.environ["PATH"]})
    try:
        # What they have said is behind what a third one says after them.
        wait_for(lambda: all(_is_asleep(one) for one in (stranger.pid, other["pid"])), what="both have spoken")
        argv, ready = way("notify", go.with_name("now"))
        submit(host, "third", *argv, ready=ready)
        until(host, "third", "ready")
        assert state(host, "spoofed") == "running"
        assert state(host, "other") == "running"
    finally:
        stranger.kill()
        stranger.wait()
    go.touch()
    until(host, "spoofed", "ready")


def _is_asleep(pid: int) -> bool:
    """Whether a process waits for nothing but time, in a call for that."""
    return "nanosleep" in Path(f"/proc/{pid}/wchan").read_text()


def test_what_is_said_at_once_is_heard(host: Host, go: Path) -> None:
    """[S39] Also before the launcher knows that the program runs."""
    go.touch()
    argv, ready = way("notify", go)
    for number in range(5):
        submit(host, f"quick{number}", *argv, ready=ready)
    for number in range(5):
        until(host, f"quick{number}", "ready")


def test_a_child_that_waits_to_be_heard_is_heard(host: Host, go: Path) -> None:
    """[S39] As systemd-notify(1): what it has sent along is closed when it has been heard, and then it ends."""
    child = SAY + (
        "if os.fork() == 0:\n"
        "    say(b'READY=1')\n"
        "    address = os.environ['NOTIFY_SOCKET']\n"
        "    heard, sent = os.pipe()\n"
        "    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaker:\n"
        "        speaker.connect('\\0' + address[1:] if address[0] == '@' else address)\n"
        "        socket.send_fds(speaker, [b'BARRIER=1'], [sent])\n"
        "    os.close(sent)\n"
        "    os._exit(len(os.read(heard, 1)))\n"
        "os.wait()\n"
        "time.sleep(300)"
    )
    go.touch()
    submit(host, "job", *PYTHON, child, str(go), ready={"notify": True})
    until(host, "job", "ready")


def test_a_socket_with_a_file_serves_too(place: Host, go: Path) -> None:
    """[S39] As users have it, and root where the name is taken: nobody else reaches it, and it goes at the end."""
    path = place.socket.parent / "notify.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as somebody:
        somebody.bind(f"\0{path}")
        place.serve()
    assert path.stat().st_mode & 0o777 == 0o600
    argv, ready = way("notify", go)
    pid = submit(place, "job", *argv, ready=ready)["pid"]
    assert environment(pid)["NOTIFY_SOCKET"] == str(path)
    before = launcher_pid(place)
    os.kill(before, signal.SIGSTOP)
    go.touch()
    kill(before)
    until(place, "job", "ready")
    place.launch("shutdown")
    assert not path.exists()


def test_only_who_says_so_gets_the_socket(host: Host) -> None:
    """[S39] [S14] Neither the launcher's own nor that of another job."""
    pid = submit(host, "plain")["pid"]
    assert "NOTIFY_SOCKET" not in environment(pid)


# Commands


def test_a_command_is_the_jobs_and_no_job(host: Host, go: Path, tmp_path: Path) -> None:
    """[S39] Its environment, directory and streams; it is not taken for the job."""
    fds = "/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2"
    script = f"env > {go}.env; pwd > {go}.pwd; readlink {fds} > {go}.fds; test -e {go}"
    env = {"PATH": os.environ["PATH"], "MINE": "yes"}
    ready = {"command": ["sh", "-c", script], "interval_s": 0.1}
    submit(host, "job", "sleep", "300", env=env, cwd=str(tmp_path), ready=ready)
    go.touch()
    until(host, "job", "ready")
    found = dict(line.split("=", 1) for line in Path(f"{go}.env").read_text().splitlines() if "=" in line)
    assert (found["MINE"], found["LAUNCH_JOB_LABEL"]) == ("yes", "job")
    assert not {"LAUNCH_JOB_ID", "LAUNCH_JOB_RUN", "LAUNCH_JOB_SOCKET"} & set(found)
    assert Path(f"{go}.pwd").read_text().strip() == str(tmp_path)
    assert Path(f"{go}.fds").read_text().split()[::2] == ["/dev/null", "/dev/null"]


def test_a_command_that_cannot_be_executed_is_named_once_and_tried_again(fresh: Host, go: Path) -> None:
    """[S39]"""
    command = str(go.with_name("command"))
    submit(fresh, "job", ready={"command": [command], "interval_s": 0.05})
    log = fresh.state / "launcher.log"
    wait_for(lambda: command in log.read_text(), what="it is named")
    Path(command).write_text("#!/bin/sh\n")
    Path(command).chmod(0o755)
    until(fresh, "job", "ready")
    assert log.read_text().count(f"{command}: No such file or directory") == 1


@pytest.mark.parametrize("ending", ["stop", "kill", "launcher"])
def test_a_command_that_hangs_and_forks_leaves_nothing(host: Host, go: Path, ending: str) -> None:
    """[S39] Neither when its job is stopped or dies, nor when the launcher does."""
    script = f"trap '' TERM; setsid sleep 302 & (setsid sleep 303 &); touch {go}; sleep 304"
    pid = submit(host, "job", ready={"command": ["sh", "-c", script]})["pid"]
    wait_for(go.exists, what="it runs")
    wait_for(lambda: len(ready_processes(host)) == 4, what="it has forked")
    before = ready_processes(host)
    if ending == "stop":
        call(host.socket, "Stop", {"patterns": ["job"]})
    elif ending == "kill":
        kill(pid)
    else:
        kill_launcher(host)
    wait_for(lambda: not any(map(alive, before)), what="the end of all of it")
    if ending == "launcher":
        wait_for(lambda: len(ready_processes(host)) == 4, what="it is tried again")
        call(host.socket, "Stop", {"patterns": ["job"]})
    wait_for(lambda: not ready_processes(host), what="the end of all of it")


# Lines


def test_a_line_counts_when_it_is_whole(host: Host, go: Path) -> None:
    """[S39] Part of one does not, however it is written; nor what stands beyond the bound of a line."""
    script = (
        "printf rea; printf 'dy'; printf '%020000d' 0; echo ready; while ! [ -e $0 ]; do sleep 0.01; done; "
        "printf 'ready '; printf 'soon\\nread'; printf 'y\\r\\n'; exec sleep 300"
    )
    submit(host, "lines", "sh", "-c", script, str(go), ready={"log_line": "^ready$"})
    submit(host, "beyond", "sh", "-c", script, str(go), ready={"log_line": "0ready$"})
    submit(host, "other", "sh", "-c", "echo yes; exec sleep 300", ready={"log_line": "yes"})
    until(host, "other", "ready")
    assert state(host, "lines") == "running"
    go.touch()
    until(host, "lines", "ready")
    assert state(host, "beyond") == "running"


def test_a_line_is_found_in_files_of_the_users_own(host: Host, go: Path, tmp_path: Path) -> None:
    """[S39] Standard error too; not what was there before; and after somebody has emptied the file."""
    out, err = tmp_path / "out", tmp_path / "err"
    out.write_text("ready\n" * 10_000)
    script = "while ! [ -e $0 ]; do sleep 0.01; done; echo ready >&$1; exec sleep 300"
    files = {"stdout": str(out), "stderr": str(err)}
    submit(host, "one", "sh", "-c", script, str(go), "1", ready={"log_line": "^ready"}, **files)
    submit(host, "two", "sh", "-c", script, str(go) + ".2", "2", ready={"log_line": "^ready"}, **files)
    submit(host, "other", "sh", "-c", "echo yes; exec sleep 300", ready={"log_line": "yes"})
    until(host, "other", "ready")
    assert {state(host, "one"), state(host, "two")} == {"running"}
    os.truncate(out, 0)
    go.touch()
    until(host, "one", "ready")
    call(host.socket, "Stop", {"patterns": ["two"]})


def test_a_line_is_found_though_the_file_is_cut(host: Host, go: Path) -> None:
    """[S39] [S12] Before and after the launcher's death."""
    script = (
        "i=0; while ! [ -e $0 ]; do i=$((i+1)); echo line $i of many, none of them good; done; "
        "echo good at last; exec sleep 300"
    )
    job = submit(host, "loud", "sh", "-c", script, str(go), ready={"log_line": "^good"}, output_bytes_max=65536)
    path = Path(job["output"])
    wait_for(lambda: path.stat().st_blocks * 512 < path.stat().st_size or _has_been_cut(path), what="it is cut")
    kill_launcher(host)
    assert state(host, "loud") == "running"
    go.touch()
    until(host, "loud", "ready")


def _has_been_cut(path: Path) -> bool:
    with path.open("rb") as file:
        return not file.readline().endswith(b"line 1 of many, none of them good\n")


def test_a_hostile_expression_holds_up_nobody_for_long(host: Host) -> None:
    """[S39] It is given up, and the job goes on; so do the launcher and the other jobs."""
    lines = "for i in 1 2 3 4 5; do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!; done; exec sleep 300"
    submit(host, "hostile", "sh", "-c", lines, ready={"log_line": "^(a+)+$"})
    slowest_s = 0.0
    submit(host, "mild", "sh", "-c", "echo fine; exec sleep 300", ready={"log_line": "^fine"})
    while state(host, "mild") != "ready":
        began = time.monotonic()
        call(host.socket, "GetStatus")
        slowest_s = max(slowest_s, time.monotonic() - began)
    assert slowest_s < 2.0
    log = host.state / "launcher.log"
    given_up = "hostile: the expression of its log line takes too long"
    wait_for(lambda: given_up in log.read_text(), 60, what="it is given up")
    assert state(host, "hostile") == "running"
    wait_for(lambda: not children(launcher_pid(host)), what="nothing searches any more")


# Other users


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("name", ["command", "notify"])
def test_a_job_of_another_user_shows_it_too(host: Host, name: str) -> None:
    """[S39] [S30] Its command is run as that user; what it says is heard."""
    go = Path("/tmp") / f"relaunch-test-{os.getpid()}-{name}"
    argv, ready = way(name, go)
    if name == "command":
        ready["command"] = ["sh", "-c", f"test $(id -un) = nobody && test -e {go}"]
    if name == "notify":
        argv[0] = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else argv[0]
    submit(host, "theirs", *argv, user="nobody", ready=ready)
    try:
        assert state(host, "theirs") == "running"
        go.touch()
        until(host, "theirs", "ready")
    finally:
        go.unlink(missing_ok=True)


# The command line
