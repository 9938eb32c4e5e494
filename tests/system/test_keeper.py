"""The keeper, as a real process with the test in the launcher's place (clauses S20 to S25 of docs/protocol.md)."""

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.system.keeper_process import (
    MAIN,
    KeeperProcess,
    Launcher,
    alive,
    boot_id,
    keeper,
    own_bytes,
    spawn_order,
    status,
    ticks,
    until,
)

from relaunch.keeper.children import GIVE_UP_S
from relaunch.keeper.wire import VERSION, encode

MIB = 1 << 20


@pytest.fixture
def running(tmp_path: Path) -> Iterator[KeeperProcess]:
    with keeper(tmp_path) as process:
        yield process


@pytest.fixture
def launcher(running: KeeperProcess) -> Launcher:
    return running.launcher().up()


def exit_of(launcher: Launcher, key: str, *argv: str, **fields: object) -> int:
    """Run one program to its end; its exit code, negative for a signal."""
    launcher.spawn(key, *argv, **fields)
    launcher.expect("spawned", key=key)
    return os.waitstatus_to_exitcode(launcher.expect("exited", key=key)["status"])


def output_of(launcher: Launcher, path: Path, *argv: str, **fields: object) -> str:
    assert exit_of(launcher, f"output {path.name}", *argv, stdout=str(path), **fields) == 0
    return path.read_text()


def statuses(hello: dict[str, object]) -> dict[str, dict[str, object]]:
    children = hello["children"]
    assert isinstance(children, list)
    return {report["key"]: report for report in children}


# What a start does


def test_hello_says_who_the_keeper_is(running: KeeperProcess) -> None:
    """[S21] The first report tells version, keeper, boot and history."""
    hello = running.launcher().expect("hello", version=VERSION, keeper_pid=running.pid, boot_id=boot_id())
    assert (hello["launcher_starts"], hello["launcher_died"], hello["children"]) == (1, None, [])
    assert 0 <= time.time() - hello["started_at"] < 60


def test_a_spawned_program_is_identified(running: KeeperProcess, launcher: Launcher) -> None:
    """[S20] [S22] A job is the keeper's child, and its report names pid and start time as the kernel has them."""
    for number in range(20):  # the start time is told by two ways, see Spawner
        launcher.spawn(f"job.{number}", "sleep", "1000")
        report = launcher.expect("spawned", key=f"job.{number}")
        assert report["ticks"] == ticks(report["pid"])
        assert report["pid"] in running.children()
        assert os.getsid(report["pid"]) == report["pid"]
        assert abs(time.time() - report["at"]) < 20


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", -9), ("kill -15 $$", -15), ("exit 255", 255)],
)
def test_an_end_is_told_as_it_was(launcher: Launcher, script: str, code: int) -> None:
    """[S20] Exit code or signal arrive as wait(2) gives them."""
    assert exit_of(launcher, "job", "sh", "-c", script) == code


def test_resource_usage_comes_with_the_exit(launcher: Launcher) -> None:
    """[S20] The exit carries CPU seconds and the largest resident size in bytes."""
    burn = "import os, time\nx = bytearray(50 << 20)\nwhile time.process_time() < 0.3: pass"
    launcher.spawn("job", sys.executable, "-ISc", burn)
    launcher.expect("spawned")
    usage = launcher.expect("exited", status=0)["usage"]
    assert 0.2 < usage["user_s"] + usage["system_s"] < 10
    assert 50 * MIB < usage["rss_bytes_max"] < 200 * MIB


def test_an_exit_is_kept_until_forgotten(running: KeeperProcess, launcher: Launcher) -> None:
    """[S20] The same order again is answered by the last report, and starts nothing, until the key is forgotten."""
    launcher.spawn("job", "sh", "-c", "exit 3")
    launcher.expect("spawned")
    ended = launcher.expect("exited")
    launcher.spawn("job", "sh", "-c", "exit 4")
    assert launcher.report() == ended
    launcher.send({"op": "forget", "keys": ["job", "never heard of"]})
    launcher.spawn("job", "sh", "-c", "exit 4")
    launcher.expect("spawned")
    assert launcher.expect("exited")["status"] == 4 << 8


def test_a_running_key_is_not_started_twice(running: KeeperProcess, launcher: Launcher) -> None:
    """[S20] A second order for a running key is answered by its first report."""
    launcher.spawn("job", "sleep", "1000")
    first = launcher.expect("spawned")
    launcher.spawn("job", "sleep", "1000")
    assert launcher.report() == first
    assert running.children() == [launcher.pid, first["pid"]]


def test_a_forgotten_running_job_ends_in_silence(running: KeeperProcess, launcher: Launcher) -> None:
    """[S20] What is forgotten while it runs is reaped, and its key may be used anew meanwhile."""
    launcher.spawn("job", "sleep", "1000")
    first = launcher.expect("spawned")["pid"]
    launcher.send({"op": "forget", "keys": ["job"]})
    launcher.spawn("job", "sleep", "1000")
    second = launcher.expect("spawned")["pid"]
    os.kill(first, signal.SIGKILL)
    until(lambda: first not in running.children(), "the forgotten job is reaped")
    os.kill(second, signal.SIGTERM)
    launcher.expect("exited", pid=second, status=signal.SIGTERM)


def test_streams_are_files_that_are_appended_to(launcher: Launcher, tmp_path: Path) -> None:
    """[S20] stdin is read from its path; stdout and stderr are appended; a new file is its owner's alone."""
    given, out, err = tmp_path / "in", tmp_path / "out", tmp_path / "err"
    given.write_text("hello\n")
    out.write_text("before\n")
    script = "cat; echo oops >&2"
    assert exit_of(launcher, "a", "sh", "-c", script, stdin=str(given), stdout=str(out), stderr=str(err)) == 0
    assert (out.read_text(), err.read_text()) == ("before\nhello\n", "oops\n")
    assert stat.S_IMODE(err.stat().st_mode) == 0o600
    assert exit_of(launcher, "b", "sh", "-c", script, stdout=str(out)) == 0
    assert out.read_text() == "before\nhello\noops\n"


def test_streams_without_a_path_are_the_null_device(launcher: Launcher, tmp_path: Path) -> None:
    """[S20] A job never gets the keeper's own streams or descriptors."""
    shown = output_of(launcher, tmp_path / "out", "ls", "-l", "/proc/self/fd", stderr="/dev/null")
    links = {line.split()[-3]: line.split()[-1] for line in shown.splitlines() if "->" in line}
    listing = links.pop("3")
    assert listing.startswith("/proc/")
    assert links == {"0": "/dev/null", "1": str(tmp_path / "out"), "2": "/dev/null"}


def test_a_job_gets_its_environment(tmp_path: Path) -> None:
    """[S20] The keeper's environment plus the order's, less what null removes and what is for the keeper alone."""
    own = {"PATH": os.environ["PATH"], "KEPT": "1", "REMOVED": "1", "CHANGED": "1", "NOTIFY_SOCKET": "/x"}
    own |= {"LISTEN_FDS": "1", "LISTEN_PID": "1", "WATCHDOG_USEC": "1", "INVOCATION_ID": "1", "JOURNAL_STREAM": "1"}
    with keeper(tmp_path, env=own) as running:
        changes = {"REMOVED": None, "CHANGED": "2", "NEW": "3", "RAW": "\udcff"}
        assert exit_of(running.launcher().up(), "job", "env", env=changes, stdout=str(tmp_path / "out")) == 0
    lines = set((tmp_path / "out").read_bytes().splitlines())
    # Python itself adds LC_CTYPE to its environment where no locale is set.
    assert lines - {b"LC_CTYPE=C.UTF-8"} == {
        b"PATH=" + os.environb[b"PATH"],
        b"KEPT=1",
        b"CHANGED=2",
        b"NEW=3",
        b"RAW=\xff",
    }


def test_bytes_that_are_not_utf8_reach_the_job(launcher: Launcher, tmp_path: Path) -> None:
    """[S20] Lone surrogates stand for bytes in arguments, environment and paths."""
    out = os.fsdecode(bytes(tmp_path) + b"/out-\xff")
    script = "import os, sys; sys.stdout.buffer.write(os.fsencode(sys.argv[1]) + os.environb[b'RAW'])"
    env = {"RAW": "\udcfe", "PYTHONUTF8": "1"}
    assert exit_of(launcher, "job", sys.executable, "-Sc", script, "\udcff", env=env, stdout=out) == 0
    assert Path(out).read_bytes() == b"\xff\xfe"


def test_program_and_first_argument_may_differ(launcher: Launcher, tmp_path: Path) -> None:
    """[S20] argv is given as ordered, `program` is what is executed, in the directory ordered."""
    shown = output_of(launcher, tmp_path / "out", "a name", "-c", 'echo "$0"; pwd', program="sh", cwd=str(tmp_path))
    assert shown == f"a name\n{tmp_path}\n"


def test_the_path_searched_is_the_jobs(launcher: Launcher, tmp_path: Path) -> None:
    """[S20] A program without a slash is searched in the PATH of the job's own environment."""
    tool = tmp_path / "bin" / "tool"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho found\n")
    tool.chmod(0o755)
    assert output_of(launcher, tmp_path / "out", "tool", env={"PATH": f"/nowhere:{tool.parent}"}) == "found\n"


def test_umask_nice_and_limits_are_set(launcher: Launcher, tmp_path: Path) -> None:
    """[S20] umask, priority and resource limits are the order's."""
    script = "umask; nice; ulimit -Sn; ulimit -Hn; ulimit -c"
    shown = output_of(
        launcher,
        tmp_path / "out",
        "sh",
        "-c",
        script,
        umask=0o027,
        nice=5,
        limits={"nofile": [50, 60], "core": [None, None] if os.geteuid() == 0 else [0, 0]},
    )
    core = "unlimited" if os.geteuid() == 0 else "0"
    assert shown.split() == ["0027", "5", "50", "60", core]


def test_a_job_starts_with_default_signals(tmp_path: Path) -> None:
    """[S20] Dispositions are default and nothing is blocked, even where the keeper itself was started otherwise."""

    def like_nohup() -> None:
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGUSR1, signal.SIGTTOU):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR2])

    with keeper(tmp_path, prepare=like_nohup) as running:
        launcher = running.launcher().up()
        for name, more in (("plain", {}), ("prepared", {"nice": 1})):
            shown = output_of(launcher, tmp_path / name, "grep", "^Sig[BI]", "/proc/self/status", **more)
            assert {int(line.split()[1], 16) for line in shown.splitlines()} == {0}, shown
        assert int(next(
            line.split()[1] for line in Path(f"/proc/{launcher.pid}/status").read_text().splitlines()
            if line.startswith("SigBlk")
        ), 16) == 0  # fmt: skip


# Starts that fail


def test_a_failed_start_says_what_failed(running: KeeperProcess, launcher: Launcher, tmp_path: Path) -> None:
    """[S23] What failed, the error number and the subject are named; no process, no descriptor, no key remains."""
    text, fifo = tmp_path / "text", tmp_path / "fifo"
    text.write_text("not a program")
    text.chmod(0o755)
    (tmp_path / "plain").write_text("#!/bin/sh\n")
    os.mkfifo(fifo)
    nowhere = str(tmp_path / "no" / "where")
    cases: list[tuple[dict[str, object], str, int, str]] = [
        ({"program": "no-such-tool"}, "program", errno.ENOENT, "no-such-tool"),
        ({"program": nowhere}, "program", errno.ENOENT, nowhere),
        ({"program": str(tmp_path / "plain")}, "program", errno.EACCES, str(tmp_path / "plain")),
        ({"program": str(text)}, "program", errno.ENOEXEC, str(text)),
        ({"program": str(tmp_path)}, "program", errno.EACCES, str(tmp_path)),
        ({"program": str(text), "cwd": str(text)}, "cwd", errno.ENOTDIR, str(text)),
        ({"program": "/", "cwd": "/"}, "program", errno.EACCES, "/"),
        ({"cwd": nowhere}, "cwd", errno.ENOENT, nowhere),
        ({"cwd": nowhere, "nice": 1}, "cwd", errno.ENOENT, nowhere),
        ({"stdin": nowhere}, "stdin", errno.ENOENT, nowhere),
        ({"stdout": nowhere}, "stdout", errno.ENOENT, nowhere),
        ({"stdout": str(tmp_path)}, "stdout", errno.EISDIR, str(tmp_path)),
        ({"stdout": str(fifo)}, "stdout", errno.ENXIO, str(fifo)),
        ({"stderr": nowhere}, "stderr", errno.ENOENT, nowhere),
        ({"limits": {"bogus": [1, 1]}}, "limit", errno.EINVAL, "bogus"),
        ({"limits": {"nofile": [100, 50]}}, "limit", errno.EINVAL, "nofile"),
        ({"limits": {"core": [0, 0], "nofile": [1 << 40, 1 << 40]}}, "limit", errno.EPERM, "nofile"),
        ({"argv": ["sleep", "x" * (1 << 20)]}, "program", errno.E2BIG, "sleep"),
        ({"argv": ["nul\0"]}, "fork", errno.EINVAL, "embedded null byte"),
        ({"argv": "nonsense", "env": 5}, "fork", errno.EINVAL, "'int' object has no attribute 'items'"),
    ]
    running.settled()
    descriptors = running.descriptors()
    for fields, what, number, subject in cases:
        launcher.send(spawn_order("job", "sleep", "1000") | fields)
        report = launcher.report()
        told = report["event"], report.get("what"), report.get("errno"), report.get("subject")
        assert told == ("failed", what, number, subject), fields
    running.settled()
    assert running.descriptors() == descriptors
    assert running.children() == [launcher.pid]
    assert exit_of(launcher, "job", "true") == 0, "a key whose start failed is free"


def test_priority_refused_is_told(launcher: Launcher, running: KeeperProcess) -> None:
    """[S23] A nice value that the keeper may not give is what failed."""
    if os.geteuid() == 0:
        launcher.spawn("job", "true", nice="bogus")
        launcher.expect("failed", what="nice", subject="bogus")
    else:
        launcher.spawn("job", "true", nice=-5)
        launcher.expect("failed", what="nice", errno=errno.EACCES, subject="-5")
    assert running.children() == [launcher.pid]


def test_a_fifo_is_opened_without_waiting_and_then_blocks(launcher: Launcher, tmp_path: Path) -> None:
    """[S23] A FIFO does not hold up the keeper, and the job gets it in blocking mode."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    show = "import fcntl, os; print(fcntl.fcntl(1, fcntl.F_GETFL) & os.O_NONBLOCK)"
    assert exit_of(launcher, "writer", sys.executable, "-ISc", show, stdout=str(fifo)) == 0
    assert os.read(reader, 100) == b"0\n"
    os.close(reader)


def test_no_descriptors_left_is_a_failed_start(tmp_path: Path) -> None:
    """[S23] Out of descriptors, a start fails as `fork` with EMFILE, and the next works once there are some again."""
    with keeper(tmp_path) as running:
        launcher = running.launcher().up()
        running.settled()
        used = len(running.descriptors())
        fields = {"stdin": "/dev/zero", "stdout": "/dev/null", "stderr": "/dev/null", "nice": 1}
        hard = resource.prlimit(running.pid, resource.RLIMIT_NOFILE)[1]
        needed = 7  # three files, two ends of the pipe for causes, two of Popen's
        for free in range(needed):
            resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (used + free, hard))
            launcher.spawn("job", "true", **fields)
            launcher.expect("failed", what="fork", errno=errno.EMFILE)
        resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (used + needed, hard))
        assert exit_of(launcher, "job", "true", **fields) == 0
        running.settled()
        assert len(running.descriptors()) == used
        assert running.children() == [launcher.pid]


def test_senseless_orders_are_survived(launcher: Launcher, running: KeeperProcess) -> None:
    """[S23] Orders that nobody can carry out, or read, are survived."""
    launcher.send(
        {"op": "dance"}, {}, {"op": ["spawn"]}, {"op": "spawn"}, {"op": "forget"}, {"op": "forget", "keys": 3}
    )
    launcher.send({"op": "spawn", "key": "no argv"}, {"op": "adopt", "key": "no pid"}, {"op": "quit", "status": "?"})
    launcher.expect("failed", key="no argv", what="fork")
    launcher.expect("failed", key="no pid", what="fork")
    assert exit_of(launcher, "job", "true") == 0
    assert "'dance'" in running.log()


# Launchers that die, stop, and talk nonsense


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


# Signals to the keeper


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


# Orphans and the adopted


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process whose parent is the test, not the keeper."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


def adopt_order(key: str, pid: int, **fields: object) -> dict[str, object]:
    return {"op": "adopt", "key": key, "pid": pid, "ticks": ticks(pid), "boot_id": boot_id()} | fields


def orphan_of(launcher: Launcher, tmp_path: Path) -> int:
    """A process that outlives the job which started it."""
    launcher.spawn("parent", "sh", "-c", "sleep 1000 & echo $!", stdout=str(tmp_path / "orphan"))
    launcher.expect("spawned")
    launcher.expect("exited", status=0)
    return int((tmp_path / "orphan").read_text())


# Whether this kernel keeps the exit status of the reaped for their pidfds.
KERNEL_TELLS = tuple(int(part) for part in os.uname().release.split(".")[:2]) >= (6, 15)


def test_orphans_are_reaped_in_silence(running: KeeperProcess, launcher: Launcher, tmp_path: Path) -> None:
    """[S20] What a job leaves behind becomes the keeper's child, and no zombie."""
    orphan = orphan_of(launcher, tmp_path)
    assert orphan in running.children()
    os.kill(orphan, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{orphan}").exists(), "the orphan is reaped")
    assert exit_of(launcher, "next", "true") == 0


def test_an_adopted_process_is_watched_to_its_end(
    running: KeeperProcess, launcher: Launcher, stranger: subprocess.Popen[bytes]
) -> None:
    """[S22] Its exit status comes from the kernel once its parent has reaped it; usage is unknown."""
    running.settled()
    descriptors = running.descriptors()
    launcher.send(adopt_order("job", stranger.pid))
    spawned = launcher.expect("spawned", key="job", pid=stranger.pid, ticks=ticks(stranger.pid))
    launcher.send(adopt_order("job", stranger.pid))
    assert launcher.report() == spawned
    stranger.terminate()
    stranger.wait()
    launcher.expect("exited", key="job", status=signal.SIGTERM if KERNEL_TELLS else None, usage=None)
    running.settled()
    assert running.descriptors() == descriptors


def test_an_adopted_process_that_nobody_reaps_ends_unknown(
    launcher: Launcher, stranger: subprocess.Popen[bytes]
) -> None:
    """[S22] After a while its status is explicitly unknown."""
    launcher.send(adopt_order("job", stranger.pid))
    launcher.expect("spawned")
    since = time.monotonic()
    stranger.kill()
    launcher.expect("exited", key="job", pid=stranger.pid, status=None, usage=None)
    assert GIVE_UP_S - 0.1 < time.monotonic() - since < GIVE_UP_S + 2.0


@pytest.mark.skipif(not KERNEL_TELLS, reason="this kernel keeps no exit status")
def test_an_adopted_process_reaped_late_is_still_known(launcher: Launcher, stranger: subprocess.Popen[bytes]) -> None:
    """[S22] The keeper waits for the parent to reap."""
    launcher.send(adopt_order("job", stranger.pid))
    launcher.expect("spawned")
    stranger.kill()
    with pytest.raises(TimeoutError):
        launcher.report(0.2)
    stranger.wait()
    launcher.expect("exited", status=signal.SIGKILL)


def test_an_adopted_process_survives_the_launcher(
    running: KeeperProcess, launcher: Launcher, stranger: subprocess.Popen[bytes]
) -> None:
    """[S21] [S22] The next launcher finds the adopted in hello as well."""
    launcher.send(adopt_order("job", stranger.pid))
    spawned = launcher.expect("spawned")
    launcher.kill()
    second = running.launcher()
    second.expect("hello", children=[spawned])
    stranger.kill()
    stranger.wait()
    second.expect("exited", key="job")


@pytest.mark.parametrize("wrong", [{"ticks": 1}, {"ticks": None}, {"boot_id": "other"}, {"pid": 1 << 22}, {"pid": -1}])
def test_a_pid_alone_adopts_nothing(
    running: KeeperProcess, launcher: Launcher, stranger: subprocess.Popen[bytes], wrong: dict[str, object]
) -> None:
    """[S22] Another start time, another boot or no such process: gone, and how is unknown."""
    running.settled()
    descriptors = running.descriptors()
    launcher.send(adopt_order("job", stranger.pid) | wrong)
    launcher.expect("exited", key="job", pid=wrong.get("pid", stranger.pid), status=None, usage=None)
    running.settled()
    assert running.descriptors() == descriptors
    assert stranger.poll() is None


def test_an_adopted_process_can_be_forgotten(
    running: KeeperProcess, launcher: Launcher, stranger: subprocess.Popen[bytes]
) -> None:
    """[S22] [S24] Its descriptor is given back, and its end told to nobody."""
    running.settled()
    descriptors = running.descriptors()
    launcher.send(adopt_order("job", stranger.pid))
    launcher.expect("spawned")
    launcher.send({"op": "forget", "keys": ["job"]})
    stranger.kill()
    stranger.wait()
    assert exit_of(launcher, "next", "true") == 0
    running.settled()
    assert running.descriptors() == descriptors


def test_an_orphan_that_is_the_keepers_child_can_be_adopted(launcher: Launcher, tmp_path: Path) -> None:
    """[S22] The keeper is its parent then, so the exit is known on any kernel, with its usage."""
    orphan = orphan_of(launcher, tmp_path)
    launcher.send(adopt_order("orphan", orphan))
    launcher.expect("spawned", key="orphan", pid=orphan)
    os.kill(orphan, signal.SIGTERM)
    ended = launcher.expect("exited", key="orphan", status=signal.SIGTERM)
    assert ended["usage"] is not None


def test_a_job_adopted_under_a_second_key_ends_for_both(launcher: Launcher) -> None:
    """[S22] The key that it was spawned for keeps its exit."""
    launcher.spawn("job", "sleep", "1000")
    pid = launcher.expect("spawned")["pid"]
    launcher.send(adopt_order("twin", pid))
    launcher.expect("spawned", key="twin", pid=pid)
    os.kill(pid, signal.SIGTERM)
    ends = launcher.reports("exited", 2)
    assert ends["job"]["status"] == signal.SIGTERM
    assert ends["twin"]["status"] == (signal.SIGTERM if KERNEL_TELLS else None)


def test_no_descriptor_for_an_adoption_is_told(
    running: KeeperProcess, launcher: Launcher, stranger: subprocess.Popen[bytes]
) -> None:
    """[S22] A process that cannot be watched for want of a descriptor is not called gone."""
    running.settled()
    used = len(running.descriptors())
    hard = resource.prlimit(running.pid, resource.RLIMIT_NOFILE)[1]
    for free in (0, 1):  # the pidfd; /proc/PID/stat
        resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (used + free, hard))
        launcher.send(adopt_order("job", stranger.pid))
        launcher.expect("failed", key="job", what="fork", errno=errno.EMFILE)
    resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (used + 2, hard))
    launcher.send(adopt_order("job", stranger.pid))
    launcher.expect("spawned", key="job")


# What it costs


def test_an_idle_keeper_does_not_wake_up(running: KeeperProcess, launcher: Launcher) -> None:
    """[S24] With jobs running and nothing happening it gives the processor up not once, as it never has it."""
    launcher.send(*(spawn_order(f"job.{number}", "sleep", "1000") for number in range(10)))
    launcher.reports("spawned", 10)
    running.settled()
    before = status(running.pid, "voluntary_ctxt_switches")
    with pytest.raises(TimeoutError):
        launcher.report(1.5)
    assert status(running.pid, "voluntary_ctxt_switches") == before


@pytest.fixture
def bare_python() -> Iterator[int]:
    """Resident bytes, all but the files that all interpreters share, of an interpreter that has done nothing."""
    command = [sys.executable, "-ISc", "input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        until(lambda: "pipe" in Path(f"/proc/{process.pid}/wchan").read_text(), "it waits for input")
        yield own_bytes(process.pid)


def test_a_thousand_jobs_cost_no_descriptors_and_little_memory(
    running: KeeperProcess, launcher: Launcher, bare_python: int
) -> None:
    """[S24] Descriptors do not grow with jobs at all, resident memory by less than a KiB each, over a small start."""
    running.settled()
    descriptors, before = running.descriptors(), own_bytes(running.pid)
    for start in range(0, 1000, 50):
        launcher.send(*(spawn_order(f"job.{number}", "sleep", "1000") for number in range(start, start + 50)))
        launcher.reports("spawned", 50)
    running.settled()
    assert running.descriptors() == descriptors
    assert own_bytes(running.pid) - before < 1000 * 1024
    assert own_bytes(running.pid) - bare_python < 4 * MIB
