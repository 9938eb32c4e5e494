"""The keeper as a real process, with the test in the launcher's place: what a start does, and what it costs."""

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.keeper_process import (
    KeeperProcess,
    Launcher,
    boot_id,
    exit_of,
    keeper,
    output_of,
    own_bytes,
    spawn_order,
    status,
    ticks,
    until,
)

from relaunch.keeper.wire import VERSION

MIB = 1 << 20


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


def test_what_cannot_be_executed_is_passed_over_in_the_path(launcher: Launcher, tmp_path: Path) -> None:
    """[S20] [S23] As execvp(3) has it: the first that can be; where none can, why the first one cannot."""
    for name, mode in (("first", 0o644), ("second", 0o755)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tool").write_text(f"#!/bin/sh\necho {name}\n")
        (tmp_path / name / "tool").chmod(mode)
    path = f"{tmp_path}/first/tool:{tmp_path}/first"
    assert output_of(launcher, tmp_path / "out", "tool", env={"PATH": f"{path}:{tmp_path}/second"}) == "second\n"
    launcher.spawn("job", "tool", env={"PATH": path})
    launcher.expect("failed", what="program", errno=errno.EACCES, subject="tool")
    launcher.spawn("job", "tool", env={"PATH": f"{tmp_path}/first/tool"})
    launcher.expect("failed", what="program", errno=errno.ENOTDIR, subject="tool")


@pytest.mark.parametrize("more", [{}, {"nice": 1}], ids=["plain", "prepared"])
def test_where_a_job_begins_is_not_where_the_keeper_goes_on(tmp_path: Path, more: dict[str, object]) -> None:
    """[S20] Directory and mask are the job's alone, whether its start succeeds or not."""
    (tmp_path / "own").mkdir()
    (tmp_path / "job").mkdir()
    job = {"cwd": str(tmp_path / "job"), "umask": 0o027, **more}
    with keeper(tmp_path, cwd=tmp_path / "own", umask=0o077) as running:
        launcher = running.launcher().up()
        assert output_of(launcher, tmp_path / "out", "sh", "-c", "pwd; umask", **job).split() == [job["cwd"], "0027"]
        launcher.spawn("job", "no-such-tool", **job)
        launcher.expect("failed", what="program")
        assert Path(f"/proc/{running.pid}/cwd").readlink() == tmp_path / "own"
        assert status(running.pid, "Umask") == "0077"
        (tmp_path / "own").rmdir()
        assert output_of(launcher, tmp_path / "out2", "pwd", **job).split() == [job["cwd"]]


@pytest.mark.parametrize("more", [{}, {"nice": 1}, {"globbing": True}], ids=["plain", "prepared", "executing itself"])
def test_what_the_keeper_was_started_with_is_no_jobs(tmp_path: Path, more: dict[str, object]) -> None:
    """[S20] A descriptor that happened to be open stays the keeper's."""
    with (tmp_path / "open").open("w") as file, keeper(tmp_path, pass_fds=[file.fileno()]) as running:
        assert str(tmp_path / "open") in running.descriptors()
        shown = output_of(running.launcher().up(), tmp_path / "out", "ls", "/proc/self/fd", **more)
        assert shown.split() == ["0", "1", "2", "3"]


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


# 32 and 33 are glibc's own: its posix_spawn, which make uses, leaves them ignored, and no program can change that.
GLIBC_SIGNALS = 1 << 31 | 1 << 32


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
            assert {int(line.split()[1], 16) & ~GLIBC_SIGNALS for line in shown.splitlines()} == {0}, shown
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
