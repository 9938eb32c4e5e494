"""Jobs of other users: who they are, and with whose rights their files are reached. Only root's keeper has such."""

import errno
import fcntl
import os
import shutil
import signal
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.keeper_process import DEADLINE_S, KeeperProcess, Launcher, exit_of, output_of, status

from relaunch.keeper.preparation import REACH_S

NOBODY = 65534
# No entry in any table of users.
AD_HOC = 54321
WHO = ("grep", "-E", "^(Uid|Gid|Groups|CapPrm|CapEff)", "/proc/self/status")
pytestmark = pytest.mark.usefixtures("root")


def user(uid: int, gid: int | None = None, *groups: int) -> dict[str, object]:
    gid = uid if gid is None else gid
    return {"uid": uid, "gid": gid, "groups": [gid, *groups]}


@pytest.fixture(params=[NOBODY, AD_HOC])
def uid(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def home(uid: int) -> Iterator[Path]:
    """A directory of that user's, where others may look."""
    path = Path(tempfile.mkdtemp(prefix="rl-home-", dir="/tmp"))
    os.chown(path, uid, uid)
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def ids(shown: str) -> dict[str, list[str]]:
    return {line.split(":")[0]: line.split()[1:] for line in shown.splitlines()}


def test_a_job_is_that_user_for_good(launcher: Launcher, home: Path, uid: int) -> None:
    """[S30] Real, effective, saved and file system's ids, groups, no capability; not so the keeper and the next job."""
    shown = ids(output_of(launcher, home / "out", *WHO, user=user(uid, 4321, 777)))
    assert shown["Uid"] == [str(uid)] * 4
    assert shown["Gid"] == ["4321"] * 4
    assert set(shown["Groups"]) == {"777", "4321"}
    assert {*shown["CapPrm"], *shown["CapEff"]} == {"0" * 16}
    assert ids(output_of(launcher, home / "next", *WHO))["Uid"] == ["0"] * 4


def test_its_files_are_its_own(launcher: Launcher, home: Path, uid: int) -> None:
    """[S30] What is made for it belongs to it, and is its alone; standard error goes where standard output does."""
    (home / "in").write_text("hello\n")
    shown = output_of(launcher, home / "out", "sh", "-c", "cat; echo oops >&2", stdin=str(home / "in"), user=user(uid))
    assert shown == "hello\noops\n"
    found = (home / "out").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (uid, uid, 0o600)
    fields = {"stderr": str(home / "err"), "user": user(uid), "umask": 0o777}
    assert exit_of(launcher, "err", "sh", "-c", "umask >&2", **fields) == 0
    assert (home / "err").read_text() == "0777\n"


@pytest.mark.parametrize("what", ["stdin", "stdout", "stderr"])
def test_a_link_to_what_only_root_may_open_opens_nothing(
    running: KeeperProcess, launcher: Launcher, home: Path, uid: int, tmp_path: Path, what: str
) -> None:
    """[S30] [S23] Whatever the user has put where root's launcher is to read or to append."""
    secret = tmp_path / "secret"
    secret.write_text("root's\n")
    secret.chmod(0o600)
    link = home / "link"
    link.symlink_to(secret)
    running.settled()
    descriptors = running.descriptors()
    launcher.spawn("job", "sh", "-c", "echo mine; cat", user=user(uid), **{what: str(link)})
    launcher.expect("failed", what=what, errno=errno.EACCES, subject=str(link))
    link.unlink()
    link.symlink_to(tmp_path / "made")
    launcher.spawn("job", "sh", "-c", "echo mine; cat", user=user(uid), **{what: str(link)})
    launcher.expect("failed", what=what, errno=errno.EACCES, subject=str(link))
    assert secret.read_text() == "root's\n"
    assert not (tmp_path / "made").exists()
    running.settled()
    assert running.descriptors() == descriptors
    assert status(running.pid, "Uid").split() == ["0"] * 4


def test_the_launchers_own_file_is_opened_for_it(launcher: Launcher, home: Path, tmp_path: Path, uid: int) -> None:
    """[S30] The job's output goes to root's private directory; a path that is named is the user's all the same."""
    out = tmp_path / "out"
    fields = {"user": user(uid), "own_output": True}
    assert output_of(launcher, out, "sh", "-c", "id -u; id -u >&2", **fields) == f"{uid}\n{uid}\n"
    assert out.stat().st_uid == 0
    assert exit_of(launcher, "err", "sh", "-c", "id -u >&2", stdout=str(out), stderr=str(home / "err"), **fields) == 0
    assert (home / "err").stat().st_uid == uid
    launcher.spawn("job", "true", stdout=str(out), stderr=str(tmp_path / "err"), **fields)
    launcher.expect("failed", what="stderr", errno=errno.EACCES)


def test_directory_and_program_are_reached_with_its_rights(
    launcher: Launcher, home: Path, tmp_path: Path, uid: int
) -> None:
    """[S30] [S23] The keeper's own would do for both."""
    private = home / "private"
    private.mkdir()
    private.chmod(0o700)
    tool = home / "tool"
    shutil.copy("/bin/true", tool)
    tool.chmod(0o700)
    launcher.spawn("job", "true", cwd=str(private), user=user(uid))
    launcher.expect("failed", what="cwd", errno=errno.EACCES, subject=str(private))
    launcher.spawn("job", str(tool), user=user(uid))
    launcher.expect("failed", what="program", errno=errno.EACCES, subject=str(tool))
    os.chown(private, uid, uid)
    os.chown(tool, uid, uid)
    assert output_of(launcher, home / "out", "pwd", cwd=str(private), user=user(uid)) == f"{private}\n"
    assert exit_of(launcher, "job", "./tool", cwd=str(home), user=user(uid)) == 0


def test_what_needs_root_comes_before(launcher: Launcher, home: Path, uid: int) -> None:
    """[S30] Priority, limits and the rest are set while that may still be done, and files do not suffer from limits."""
    fields = {"nice": -5, "limits": {"nofile": [4, 4], "core": [None, None]}, "low_priority_io": True, "globbing": True}
    shown = output_of(launcher, home / "out", "sh", "-c", "nice; ulimit -Hn; ulimit -Hc", **fields, user=user(uid))
    assert shown.split() == ["-5", "4", "unlimited"]


def test_patterns_are_matched_with_its_rights(launcher: Launcher, home: Path, uid: int) -> None:
    """[S30] [S32] What it may not read matches nothing."""
    private = home / "private"
    private.mkdir()
    private.chmod(0o700)
    (private / "a").touch()
    fields = {"cwd": str(home), "globbing": True}
    assert output_of(launcher, home / "out", "echo", "private/*", **fields, user=user(uid)) == "private/*\n"
    assert output_of(launcher, home / "root", "echo", "private/*", **fields) == "private/a\n"


@pytest.mark.parametrize(
    "wrong", [{"uid": -3}, {"uid": 1 << 40}, {"uid": "root"}, {"gid": 1 << 40}, {"groups": [1 << 40]}, {"groups": None}]
)
def test_who_cannot_be_is_not_started(
    running: KeeperProcess, launcher: Launcher, home: Path, uid: int, wrong: dict[str, object]
) -> None:
    """[S30] [S23] Nothing runs as anybody else, and the keeper stays who it is."""
    launcher.spawn("job", *WHO, stdout=str(home / "out"), user=user(uid) | wrong)
    report = launcher.expect("failed", what="user")
    assert report["errno"]
    assert not (home / "out").exists()
    assert status(running.pid, "Uid").split() == ["0"] * 4
    assert running.children() == [launcher.pid]


def test_the_wrong_words_for_a_user_start_nothing(running: KeeperProcess, launcher: Launcher) -> None:
    """[S30] [S23] An order that is not understood is not carried out in part."""
    for wrong in ({}, {"uid": 0}, "root", [0, 0], 0, True):
        launcher.spawn("job", "true", user=wrong)
        launcher.expect("failed", key="job")
    assert running.children() == [launcher.pid]


def test_a_user_whose_files_hang_does_not_hold_up_the_keeper(
    running: KeeperProcess, launcher: Launcher, home: Path, uid: int
) -> None:
    """[S30] [S23] Here by a lease on the program, which would have the kernel wait for much longer."""
    tool = home / "tool"
    shutil.copy("/bin/true", tool)
    os.chown(tool, uid, uid)
    assert exit_of(launcher, "job", str(tool), user=user(uid)) == 0
    launcher.send({"op": "forget", "keys": ["job"]})
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)  # by which the kernel asks for the lease back
    with tool.open("rb") as held:
        fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        since = time.monotonic()
        launcher.spawn("job", str(tool), user=user(uid))
        launcher.expect("failed", what="user", errno=errno.ETIME, subject=str(uid))
        assert REACH_S <= time.monotonic() - since < DEADLINE_S
        assert running.children() == [launcher.pid]
        fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    signal.signal(signal.SIGIO, before)
    assert exit_of(launcher, "job", str(tool), user=user(uid)) == 0
    running.settled()
