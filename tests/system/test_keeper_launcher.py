"""The keeper and the launchers it starts: dead, stopped, talking nonsense, and told of signals."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from tests.system.keeper_process import (
    MAIN,
    KeeperProcess,
    Launcher,
    alive,
    exit_of,
    keeper,
    output_of,
    own_bytes,
    spawn_order,
    statuses,
    until,
)

from relaunch.keeper.wire import encode

MIB = 1 << 20


def test_a_dead_launcher_is_replaced_and_told_everything(running: KeeperProcess, launcher: Launcher) -> None:
    """[S21] 20 jobs are ordered, and end, while the launcher is killed; the next one learns of each key and exit."""
    for number in range(20):
        launcher.spawn(f"job.{number}", "sh", "-c", f"exit {number}")
    launcher.spawn("failing", "no-such-tool")
    launcher.spawn("living", "sleep", "1000")
    launcher.kill()
    second = running.launcher()
    found = statuses(second.expect("hello", launcher_starts=2, launcher_died=signal.SIGKILL))
    assert found.keys() == {*(f"job.{number}" for number in range(20)), "living"}
    ends = {key: report for key, report in found.items() if report["event"] == "exited"}
    ends |= second.reports("exited", 20 - len(ends))
    assert {key: report["status"] for key, report in ends.items()} == {
        f"job.{number}": number << 8 for number in range(20)
    }
    assert f"launcher {launcher.pid} was killed by signal 9 (Killed); starting it again at once" in running.log()


def test_a_launcher_is_started_again_within_a_second(running: KeeperProcess, launcher: Launcher) -> None:
    """[S21] From the death to the next hello."""
    launcher.spawn("job", "sleep", "1000")
    spawned = launcher.expect("spawned")
    since = time.monotonic()
    launcher.kill()
    hello = running.launcher().expect("hello")
    assert time.monotonic() - since < 1.0
    assert hello["children"] == [spawned]


def test_a_stopped_launcher_never_stops_the_reaping(running: KeeperProcess, launcher: Launcher) -> None:
    """[S20] [S21] 500 exits are reaped while the launcher is stopped, cost bounded memory, and reach it later."""
    launcher.send(*(spawn_order(f"job.{number}", "sleep", "1000") for number in range(500)))
    pids = {report["pid"] for report in launcher.reports("spawned", 500).values()}
    os.kill(launcher.pid, signal.SIGSTOP)
    before = own_bytes(running.pid)
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    until(lambda: running.children() == [launcher.pid], "all are reaped")
    assert own_bytes(running.pid) - before < MIB
    os.kill(launcher.pid, signal.SIGCONT)
    ends = launcher.reports("exited", 500)
    assert {report["pid"] for report in ends.values()} == pids
    assert {report["status"] for report in ends.values()} == {signal.SIGTERM}


def test_a_stopped_launcher_that_is_killed_loses_nothing(running: KeeperProcess, launcher: Launcher) -> None:
    """[S21] Reports that it never read are in the next one's hello."""
    os.kill(launcher.pid, signal.SIGSTOP)
    launcher.send(*(spawn_order(f"job.{number}", "true") for number in range(50)))
    launcher.send(spawn_order("last", "sleep", "1000"))
    last = launcher.reports("spawned", 51)["last"]
    until(lambda: running.children() == [launcher.pid, last["pid"]], "all others are reaped")
    running.settled()
    launcher.kill()
    found = statuses(running.launcher().expect("hello"))
    assert found.pop("last") == last
    assert {key: (report["event"], report["status"]) for key, report in found.items()} == {
        f"job.{number}": ("exited", 0) for number in range(50)
    }


def test_a_launcher_that_does_not_read_is_not_listened_to(running: KeeperProcess, launcher: Launcher) -> None:
    """[S21] Answers to a flood of orders wait in bounded memory, and the keeper goes on reaping meanwhile."""
    launcher.spawn("job", "sleep", "1000")
    pid = launcher.expect("spawned")["pid"]
    before = own_bytes(running.pid)
    flood = encode(spawn_order("job", "sleep", "1000")) * 100
    launcher.socket.setblocking(False)
    sent = 0

    def refused() -> bool:
        nonlocal sent
        taken = sent
        with suppress(BlockingIOError):
            while True:
                sent += launcher.socket.send(flood[sent % len(flood) :])
        running.settled()
        return sent == taken

    until(refused, "the keeper takes no more orders")
    assert sent > 100_000
    assert own_bytes(running.pid) - before < 4 * MIB
    os.kill(pid, signal.SIGKILL)
    until(lambda: running.children() == [launcher.pid], "the job is reaped")
    while launcher.report()["event"] != "exited":
        pass


def test_restarts_slow_down(running: KeeperProcess, launcher: Launcher) -> None:
    """[S21] A launcher that dies soon again and again is started after 0 s, then 0.1 s, doubling."""
    current = launcher
    for delay in (0.0, 0.1, 0.2, 0.4):
        since = time.monotonic()
        current.kill()
        current = running.launcher()
        assert delay <= time.monotonic() - since < delay + 1.0
    assert [line.rpartition("again ")[2] for line in running.log().splitlines()] == [
        "at once",
        "in 0.1 s",
        "in 0.2 s",
        "in 0.4 s",
    ]


def test_a_launcher_that_never_gets_up_is_the_end(tmp_path: Path) -> None:
    """[S21] Before the first `up`, the keeper ends with the launcher's own status, and the ready descriptor closes."""
    read, write = os.pipe()
    with keeper(tmp_path, "--ready-fd", str(write), pass_fds=[write]) as running:
        os.close(write)
        running.launcher().exit(9)
        assert running.process.wait(20) == 9
        assert os.read(read, 1) == b""
        assert "exited with status 9 before it was up" in running.log()
    os.close(read)


def test_a_launcher_killed_before_it_got_up_is_the_end(running: KeeperProcess) -> None:
    """[S21] A signal becomes 128 and its number, as in a shell."""
    running.launcher().kill(signal.SIGTERM)
    assert running.process.wait(20) == 128 + signal.SIGTERM


def test_a_launcher_that_is_not_there_is_the_end() -> None:
    """[S21] As in a shell: 127 where there is no program."""
    command = [sys.executable, "-IS", str(MAIN), "--", "/no/such"]
    ended = subprocess.run(command, capture_output=True, check=False, text=True, timeout=20)
    assert (ended.returncode, "/no/such" in ended.stderr) == (127, True)


def test_descriptors_are_passed_by_number(tmp_path: Path) -> None:
    """[S21] Each launcher gets the passed ones; the ready one is only the first one's, and closed at `up`."""
    read, write = os.pipe()
    kept = os.open(tmp_path, os.O_RDONLY)
    options = ("--pass-fd", str(kept), "--ready-fd", str(write))
    with keeper(tmp_path, *options, pass_fds=[kept, write]) as running:
        os.close(write)
        first = running.launcher()
        assert os.readlink(f"/proc/{first.pid}/fd/{kept}") == str(tmp_path)
        assert os.readlink(f"/proc/{first.pid}/fd/{write}").startswith("pipe:")
        assert first.argv[-2] == "--keeper-fd"
        first.up()
        assert output_of(first, tmp_path / "job", "ls", "/proc/self/fd").split() == ["0", "1", "2", "3"]
        first.kill()
        second = running.launcher()
        assert os.readlink(f"/proc/{second.pid}/fd/{kept}") == str(tmp_path)
        assert os.readlink(f"/proc/{second.pid}/fd/{write}") == "/dev/null"
        assert os.read(read, 1) == b"", "nobody has the ready descriptor any more"
    os.close(kept)
    os.close(read)


def test_quit_ends_the_keeper_but_no_job(running: KeeperProcess, launcher: Launcher) -> None:
    """[S21] After `quit` the launcher's end is the keeper's, with the status asked for, however the launcher ended."""
    launcher.spawn("job", "sleep", "1000")
    pid = launcher.expect("spawned")["pid"]
    try:
        launcher.send({"op": "quit", "status": 42})
        launcher.close()
        running.settled()
        assert running.process.poll() is None, "it waits for the launcher"
        launcher.kill()
        assert running.process.wait(20) == 42
        assert alive(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("garbage", [b"{not json\0", b"17\0", b"[]\0", b"\xff\0", b"\0", b"[" * 100_000 + b"\0"])
def test_a_launcher_that_talks_nonsense_is_replaced(running: KeeperProcess, launcher: Launcher, garbage: bytes) -> None:
    """[S21] What is not an order ends the launcher; the orders before it hold, and its successor is told."""
    launcher.spawn("job", "sleep", "1000")
    spawned = launcher.expect("spawned")
    with suppress(ConnectionError):
        launcher.socket.sendall(garbage)
    second = running.launcher()
    second.expect("hello", launcher_died=signal.SIGKILL, children=[spawned])
    assert f"launcher {launcher.pid} sent garbage" in running.log()
    assert exit_of(second, "next", "true") == 0


def test_a_launcher_that_closes_its_socket_and_stays_is_replaced(running: KeeperProcess, launcher: Launcher) -> None:
    """[S21] It has a little while to end by itself."""
    launcher.close()
    running.launcher().expect("hello", launcher_died=signal.SIGKILL)
    assert "closed its socket" in running.log()


def test_a_launcher_that_closes_its_socket_may_end_by_itself(running: KeeperProcess, launcher: Launcher) -> None:
    """[S21] Its own exit status is what counts."""
    launcher.close()
    launcher.exit(3)
    running.launcher().expect("hello", launcher_died=3 << 8)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_termination_signal_is_passed_on(running: KeeperProcess, launcher: Launcher, number: int) -> None:
    """[S25] The launcher is asked, each time, and the keeper goes on."""
    for _ in range(2):
        os.kill(running.pid, number)
        launcher.expect("asked", signal=number)
    assert exit_of(launcher, "job", "true") == 0


def test_asking_survives_the_launcher(running: KeeperProcess, launcher: Launcher) -> None:
    """[S25] A launcher that died over it is started again, and asked right after hello; so is each further one."""
    os.kill(running.pid, signal.SIGTERM)
    launcher.expect("asked")
    launcher.kill()
    second = running.launcher()
    second.expect("hello")
    second.expect("asked", signal=signal.SIGTERM)
    second.kill()
    until(lambda: running.children() == [], "there is no launcher, for the next 0.1 s")
    os.kill(running.pid, signal.SIGINT)
    third = running.launcher()
    third.expect("hello")
    assert [third.expect("asked")["signal"] for _ in range(2)] == [signal.SIGTERM, signal.SIGINT]
