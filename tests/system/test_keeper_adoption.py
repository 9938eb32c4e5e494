"""The keeper and processes that are not its jobs: orphans, and those it adopts."""

import errno
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.keeper_process import (
    KeeperProcess,
    Launcher,
    boot_id,
    exit_of,
    ticks,
    until,
)

MIB = 1 << 20


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


def orphan_told(launcher: Launcher, tmp_path: Path) -> int:
    """A process that outlives the job which started it, once that is told of it and of no job before it."""
    launcher.spawn("first", "true")
    launcher.expect("spawned")
    assert launcher.expect("exited", key="first")["orphans"] is False
    launcher.spawn("parent", "sh", "-c", "setsid sleep 1000 & echo $!", stdout=str(tmp_path / "orphan"))
    launcher.expect("spawned")
    assert launcher.expect("exited", key="parent")["orphans"] is True
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


def test_an_end_says_whether_any_orphan_is_left(launcher: Launcher, tmp_path: Path) -> None:
    """[S7] Of whatever job; other jobs and the launcher are none."""
    launcher.spawn("other", "sleep", "1000")
    launcher.expect("spawned")
    orphan = orphan_told(launcher, tmp_path)
    os.kill(orphan, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{orphan}").exists(), "the orphan is reaped")
    launcher.spawn("last", "true")
    launcher.expect("spawned")
    assert launcher.expect("exited", key="last")["orphans"] is False


def test_an_orphan_is_seen_among_very_many_children(launcher: Launcher, tmp_path: Path) -> None:
    """[S7] More than the kernel tells of at once."""
    count = 900
    for number in range(count):
        launcher.spawn(f"other{number}", "sleep", "1000")
    launcher.reports("spawned", count)
    os.kill(orphan_told(launcher, tmp_path), signal.SIGKILL)


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


def test_an_adopted_process_that_nobody_has_reaped_is_known_at_once(
    launcher: Launcher, stranger: subprocess.Popen[bytes]
) -> None:
    """[S22] Whenever its parent may look."""
    launcher.send(adopt_order("job", stranger.pid))
    launcher.expect("spawned")
    stranger.kill()
    assert launcher.expect("exited", key="job")["status"] == signal.SIGKILL


@pytest.mark.parametrize("code", [0, 7])
def test_an_adopted_process_that_is_reaped_at_once_is_known(launcher: Launcher, code: int) -> None:
    """[S22] A parent that waits for it may come first: the kernel still tells, if it is recent; else it is unknown."""
    with subprocess.Popen(["sh", "-c", f"read line; exit {code}"], stdin=subprocess.PIPE) as stranger:
        launcher.send(adopt_order("job", stranger.pid))
        launcher.expect("spawned")
        stranger.communicate(b"go\n")
    status = launcher.expect("exited", key="job")["status"]
    assert status == code << 8 or (status is None and not KERNEL_TELLS)


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
