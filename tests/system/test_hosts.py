"""Odd hosts and habits: no umask to rely on, FIFOs where files belong, closed streams, no process left to be had."""

import os
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.system.evidence import end_stragglers
from tests.system.launcher_host import LAUNCH, Host, wait_for

from relaunch.places import runtime_directory, state_directory

SOMEBODY = 54321
PROCESSES_MAX = 24
# Each failed start is two commits; the journal wants its checkpoint after 500.
STARTS = 300
MANY_STARTS = f"""
import pathlib
refused = 0
for _ in range({STARTS}):
    try: call(pathlib.Path(sys.argv[1]), "Submit", {{"spec": spec_of("b", "true")}})
    except Refused: refused += 1
print(refused)
"""
ROOT = Path(__file__).resolve().parents[2]


def _open_to_others(place: Path) -> list[Path]:
    return [path for path in place.rglob("*") if stat.S_IMODE(path.lstat().st_mode) & 0o077]


def test_nothing_is_open_to_others_whatever_the_umask(place: Host) -> None:
    """[W11] Neither the directories that are made on the way, nor any file, nor what a job prints."""
    for number, mask in enumerate((0o000, 0o077)):
        place.env["XDG_STATE_HOME"] = f"{place.place}/state/{number}/deep"
        command = f'umask {mask:o}; "$0" serve --background && "$0" submit -l a -p echo hello && "$0" wait a'
        subprocess.run(["sh", "-c", command, LAUNCH], env=place.env, check=True, capture_output=True)
        assert list(place.place.rglob("a.log"))
        assert not _open_to_others(place.place)
        place.launch("shutdown")


def test_a_relative_path_is_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """[W11] Another one for each current directory, so that no command would find the launcher."""
    monkeypatch.setenv("HOME", "/home/user")
    for given in ("run", "./run", ""):
        monkeypatch.setenv("XDG_RUNTIME_DIR", given)
        monkeypatch.setenv("XDG_STATE_HOME", given)
        assert runtime_directory() in (f"/run/user/{os.getuid()}/relaunch", f"/tmp/relaunch-{os.getuid()}")
        assert state_directory() == f"/home/user/.local/state/relaunch/{os.uname().nodename}"


def _lock(done: subprocess.CompletedProcess[str]) -> None:
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "lock" in done.stderr
    assert "remove it" in done.stderr


def _log(done: subprocess.CompletedProcess[str]) -> None:
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "launcher.log cannot be opened" in done.stderr


def _journal(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("name", "check"), [("lock", _lock), ("launcher.log", _log), ("journal.db", _journal)])
def test_a_fifo_holds_up_nobody(
    place: Host, name: str, check: Callable[[subprocess.CompletedProcess[str]], None]
) -> None:
    """[J4] Refused, or set aside, at once."""
    place.state.mkdir(0o700, parents=True)
    os.mkfifo(place.state / name)
    check(place.launch("serve", "--background", check=False))


@pytest.mark.parametrize("command", ["events", "logs a", "list", "status"])
def test_output_goes_nowhere_where_it_cannot_go(host: Host, command: str) -> None:
    """[W6] Least of all to the launcher, over the descriptor that was the first one free."""
    host.launch("submit", "-l", "a", "-p", "echo", "hello")
    host.launch("wait", "a")
    for closed in (">&-", "<&- >&-"):
        words = ["sh", "-c", f'"$0" {command} {closed}', str(LAUNCH)]
        done = subprocess.run(words, env=host.env, stderr=subprocess.PIPE, text=True, check=False)
        assert (done.returncode, done.stderr) == (
            1,
            "launch: standard output cannot be written: Bad file descriptor\n",
        )


@pytest.mark.usefixtures("root")
def test_no_process_can_be_had(place: Host) -> None:
    """[S23] [W12] [S13] Starts are refused, all else goes on: a thread is a process too."""
    caps = "+dac_override,+dac_read_search"
    somebody = f"setpriv --reuid {SOMEBODY} --regid {SOMEBODY} --clear-groups --inh-caps {caps} --ambient-caps {caps}"
    os.chown(place.place, SOMEBODY, SOMEBODY)

    def run(command: str) -> subprocess.CompletedProcess[str]:
        words = [*somebody.split(), "sh", "-c", command, str(LAUNCH)]
        return subprocess.run(words, env=place.env, capture_output=True, text=True, check=False, cwd="/", timeout=60)

    started = run(f'prlimit --nproc={PROCESSES_MAX} "$0" serve --background && "$0" submit -l a -p sleep 300')
    assert started.returncode == 0, started.stderr
    sleeper = [*somebody.split(), "sleep", "300"]
    others = [subprocess.Popen(sleeper, env=place.env, cwd="/") for _ in range(PROCESSES_MAX)]
    try:
        wait_for(
            lambda: all(Path(f"/proc/{one.pid}/comm").read_text() == "sleep\n" for one in others), what="all are there"
        )
        program = (
            f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom tests.system.peer import call, Refused, spec_of\n"
        )
        program += MANY_STARTS
        many = run(f"{shlex.quote(sys.executable)} -c {shlex.quote(program)} {place.socket}")
        assert (many.returncode, many.stdout) == (0, f"{STARTS}\n"), many.stderr
        refused = run('"$0" submit -l b -p true')
        assert (
            refused.stderr == "launch: b was not started: no process could be made: Resource temporarily unavailable\n"
        )
        assert "cannot be read" in run('"$0" logs a').stderr
        assert "start-failed  b" in run('"$0" events').stdout
        assert run('"$0" stop a').stdout == "a: stopped (TERM)\n"
        assert run('"$0" shutdown').returncode == 0
        wait_for(lambda: len(place.processes()) == PROCESSES_MAX, what="launcher and keeper end")
    finally:
        end_stragglers(process.pid for process in others)
        for process in others:
            process.wait()
