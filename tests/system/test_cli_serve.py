"""Starting a launcher: being the only one, in a place that can be trusted, and outliving who started it."""

import os
import re
import resource
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.system.launcher_host import LAUNCH, Host, alive

EVERYONE = 0o777


def test_background_returns_once_the_launcher_answers(place: Host) -> None:
    done = place.launch("serve", "--background")
    status = place.status()
    assert done.stdout == f"the launcher serves: keeper pid {status['keeper_pid']}, socket {place.socket}\n"
    assert done.stderr == ""
    assert place.socket.parent.stat().st_mode & EVERYONE == 0o700
    assert place.socket.stat().st_mode & EVERYONE == 0o600
    assert place.state.stat().st_mode & EVERYONE == 0o700


def test_the_background_has_left_the_session_and_its_streams(place: Host) -> None:
    """As after `ssh HOST launch serve --background`: its end must not reach the launcher, nor the launcher delay it."""
    with place.popen("serve", "--background") as starter:
        out, err = starter.communicate(timeout=20)  # ends only when nobody else holds the pipes
        assert (starter.returncode, err) == (0, "")
        assert out
    keeper = place.keeper_pid
    assert os.getsid(keeper) == keeper
    for pid in (keeper, place.launcher_pid):
        streams = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (0, 1, 2)]
        assert streams == ["/dev/null", *[str(place.state / "launcher.log")] * 2]
        assert os.readlink(f"/proc/{pid}/cwd") == "/"


def test_closed_streams_do_no_harm(place: Host) -> None:
    subprocess.run(["sh", "-c", '"$0" serve --background <&- >&- 2>&-', LAUNCH], env=place.env, check=False)
    place.launch("submit", "-l", "p1", "-p", "echo", "hello")
    place.launch("wait", "p1")
    assert place.launch("logs", "p1").stdout == "hello\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_foreground_says_where_its_socket_is_and_ends_in_order(place: Host, number: signal.Signals) -> None:
    serving = place.popen("serve")
    assert serving.stderr is not None
    line = serving.stderr.readline()
    assert str(place.socket) in line
    assert place.keeper_pid == serving.pid
    place.launch("submit", "-l", "p1", "-p", "sleep", "120")
    pid = place.job("p1")["pid"]
    serving.send_signal(number)
    assert serving.wait(20) == 0
    assert not alive(pid)
    assert not place.socket.exists()


@pytest.mark.parametrize("typed", [["serve"], ["serve", "--background"]])
def test_a_second_instance_is_refused_with_the_pid_of_the_first(host: Host, typed: list[str]) -> None:
    """[W10]"""
    done = host.launch(*typed, check=False)
    assert done.returncode == 1
    line = f"launch: a launcher of yours already serves here: pid {host.keeper_pid}, socket {host.socket}\n"
    assert done.stderr == line


def test_a_second_instance_is_told_when_the_first_has_lost_its_socket(host: Host) -> None:
    """[W10] [S22] What the line says to do then is true."""
    host.launch("submit", "-l", "p1", "-p", "sleep", "120")
    job, keeper = host.job("p1"), host.keeper_pid
    host.socket.unlink()
    done = host.launch("serve", "--background", check=False)
    assert done.returncode == 1
    assert f"already serves here: pid {keeper}, but nobody answers at {host.socket};" in done.stderr
    os.kill(keeper, signal.SIGKILL)
    host.launch("serve", "--background")
    assert host.job("p1")["pid"] == job["pid"]


def test_another_state_directory_does_not_make_a_second_instance(host: Host) -> None:
    """[W10]"""
    done = host.launch("serve", "--background", check=False, env={"XDG_STATE_HOME": f"{host.place}/other"})
    assert done.returncode == 1
    assert "already serves here" in done.stderr
    assert host.status()["socket"] == str(host.socket)


def test_of_many_at_once_one_serves(place: Host) -> None:
    """[W10]"""
    starters = [place.popen("serve", "--background") for _ in range(6)]
    answers = [starter.communicate(timeout=30) for starter in starters]
    assert sorted(starter.returncode for starter in starters) == [0, 1, 1, 1, 1, 1]
    keeper = place.keeper_pid
    refused = [err for _, err in answers if err]
    assert len(refused) == 5
    assert all(f"already serves here: pid {keeper}," in err for err in refused)


def test_a_stale_socket_is_replaced(place: Host) -> None:
    place.socket.parent.mkdir(parents=True, mode=0o700)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(place.socket))
    assert place.launch("list", check=False).returncode == 3
    place.serve()
    assert place.jobs() == {}


def test_what_is_no_socket_is_not_removed(place: Host) -> None:
    place.socket.parent.mkdir(parents=True, mode=0o700)
    place.socket.write_text("precious")
    done = place.launch("serve", "--background", check=False)
    assert done.returncode == 3
    assert "is not a socket" in done.stderr
    assert place.socket.read_text() == "precious"


def test_the_next_one_may_start_as_soon_as_the_last_was_killed(host: Host) -> None:
    keeper, launcher = host.keeper_pid, host.launcher_pid
    os.kill(keeper, signal.SIGKILL)
    host.serve()
    assert host.keeper_pid != keeper
    assert not alive(launcher)


def test_replace_starts_the_program_anew_and_keeps_everything_else(host: Host) -> None:
    host.launch("submit", "-l", "p1", "-p", "sleep", "120")
    before, job = host.status(), host.job("p1")
    done = host.launch("serve", "--replace")
    after = host.status()
    assert done.stdout == f"the launcher was replaced: pid {after['launcher_pid']} after {before['launcher_pid']}\n"
    assert after["launcher_pid"] != before["launcher_pid"]
    assert after["keeper_pid"] == before["keeper_pid"]
    assert host.job("p1")["pid"] == job["pid"]


def test_replace_serves_where_nobody_does(place: Host) -> None:
    assert "the launcher serves" in place.launch("serve", "--background", "--replace").stdout


def test_the_log_is_bounded_at_each_start(place: Host) -> None:
    place.state.mkdir(parents=True, mode=0o700)
    log = place.state / "launcher.log"
    log.write_bytes(b"old\n" * 2**19)
    place.serve()
    assert log.stat().st_size < 10_000
    assert (place.state / "launcher.log.1").stat().st_size == 2**21


def test_a_launcher_that_cannot_start_says_why(place: Host) -> None:
    """[W5]"""
    (place.state / "output").parent.mkdir(parents=True, mode=0o700)
    (place.state / "output").write_text("in the way")
    done = place.launch("serve", "--background", check=False)
    assert done.returncode == 1
    assert done.stderr == f"launch: {place.state}/output is not a directory; remove it\n"
    assert place.launch("list", check=False).returncode == 3


def test_a_launcher_that_dies_at_its_start_leaves_its_last_words(place: Host) -> None:
    (place.place / "sitecustomize.py").write_text(
        "import sys\nif 'relaunch.launcher' in sys.orig_argv: sys.exit('last words')\n"
    )
    done = place.launch("serve", "--background", check=False, env={"PYTHONPATH": str(place.place)})
    assert done.returncode == 1
    assert "last words" in done.stderr
    assert str(place.state / "launcher.log") in done.stderr


def _symlink(directory: Path) -> None:
    elsewhere = directory.with_name("elsewhere")
    elsewhere.mkdir(mode=0o700)
    directory.symlink_to(elsewhere)


def _open_to_others(directory: Path) -> None:
    directory.mkdir()
    directory.chmod(0o755)


def _of_another(directory: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory away")
    directory.mkdir(mode=0o700)
    os.chown(directory, 12345, 12345)


def _a_file(directory: Path) -> None:
    directory.write_text("")


@pytest.mark.parametrize(
    ("spoil", "part"),
    [
        (_symlink, "symlink"),
        (_open_to_others, "chmod 700"),
        (_of_another, "12345"),
        (_a_file, "is not a directory"),
    ],
)
@pytest.mark.parametrize("which", ["run", "state"])
@pytest.mark.parametrize("typed", [["serve", "--background"], ["list"]])
def test_a_directory_that_cannot_be_trusted_is_refused(
    place: Host, spoil: Callable[[Path], None], part: str, which: str, typed: list[str]
) -> None:
    """[W11]"""
    directory = place.socket.parent if which == "run" else place.state
    directory.parent.mkdir(parents=True, mode=0o700)
    spoil(directory)
    done = place.launch(*typed, check=False)
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert (part in done.stderr) or (which == "state" and typed == ["list"])


@pytest.mark.parametrize("typed", [["serve"], ["list"]])
def test_a_socket_path_that_is_too_long_is_refused(place: Host, typed: list[str]) -> None:
    long = place.place / ("x" * 100)
    long.mkdir()
    done = place.launch(*typed, check=False, env={"XDG_RUNTIME_DIR": str(long)})
    assert done.returncode == 3
    assert "107 bytes" in done.stderr
    assert "XDG_RUNTIME_DIR" in done.stderr


def test_without_a_runtime_directory_both_sides_find_the_same_place(place: Host) -> None:
    """[W11]"""
    del place.env["XDG_RUNTIME_DIR"]
    uid = os.getuid()
    done = place.launch("list", check=False)
    assert done.returncode == 3
    assert re.search(rf"no socket at (/run/user/{uid}/relaunch|/tmp/relaunch-{uid})/launcher.sock", done.stderr)


SYSTEMD = """
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
os.makedirs(os.path.dirname(sys.argv[1]), mode=0o700)
listener.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o600)
listener.listen()
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES="launcher")
os.execv(sys.argv[2], sys.argv[2:])
"""


def test_a_socket_from_systemd_is_used_and_left(place: Host) -> None:
    python = LAUNCH.with_name("python")
    serving = subprocess.Popen(
        [python, "-c", SYSTEMD, str(place.socket), str(LAUNCH), "serve"], env=place.env, stderr=subprocess.DEVNULL
    )
    with serving:
        place.wait_for(lambda: place.launch("list", check=False).returncode == 0, what="systemd's part to be done")
        inode = place.socket.stat().st_ino
        place.launch("submit", "-l", "p1", "-p", "sh", "-c", "echo ${LISTEN_FDS-none} ${LISTEN_PID-none}")
        place.launch("wait", "p1")
        assert place.launch("logs", "p1").stdout == "none none\n"
        assert place.keeper_pid == serving.pid
        place.launch("shutdown")
        assert serving.wait(20) == 0
        assert place.socket.stat().st_ino == inode


def test_few_descriptors_are_enough_to_be_told_so(place: Host) -> None:
    done = subprocess.run(
        [LAUNCH, "serve", "--background"],
        env=place.env,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (6, 6)),
        check=False,
    )
    assert done.returncode != 0
    assert done.stderr.startswith("launch: ")
    assert "Traceback" not in done.stderr
