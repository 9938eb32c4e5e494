"""A launcher in a private place: real processes, real sockets, nothing of the user's own touched.

Knows how to start one, drive it by its command, wait for what nothing announces, and prove that nothing is left.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from tests.system.peer import Peer, call

LAUNCH = Path(sys.executable).with_name("launch")
DEADLINE_S = 20.0
COMMAND_S = 30.0
# How long after a look there is another one: a tenth of what has been waited already, within these.
_LOOK_S, _LOOK_MAX_S = 0.005, 0.03
_ACTIVE = {"starting", "running", "ready", "stopping", "ending", "backoff", "waiting"}

Value = TypeVar("Value")


def wait_for(condition: Callable[[], Value], timeout_s: float = DEADLINE_S, what: str = "") -> Value:
    """The first true value of a condition that nothing announces; fails by name after the deadline."""
    begin = time.monotonic()
    while not (value := condition()):
        waited_s = time.monotonic() - begin
        assert waited_s < timeout_s, f"{what or condition}: not within {timeout_s} s"
        time.sleep(min(max(_LOOK_S, waited_s / 10), _LOOK_MAX_S))
    return value


class Host:
    """A private runtime and state directory, and the launcher that serves there.

    Attributes:
        place: Where both directories are; short, since a socket's path has at most 107 bytes.
        env: The environment of every command.
        enter: What stands before every command, where the host is more than a place.
    """

    def __init__(self) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="rl-", dir="/tmp"))
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "LAUNCH_"))}
        self.enter: list[str] = []
        self._started: list[subprocess.Popen[str]] = []
        self._seen: list[int] = []
        self.env |= {"XDG_RUNTIME_DIR": f"{self.place}/run", "XDG_STATE_HOME": f"{self.place}/state"}

    @property
    def socket(self) -> Path:
        """The launcher's socket."""
        return self.place / "run" / "relaunch" / "launcher.sock"

    @property
    def state(self) -> Path:
        """The launcher's state directory."""
        return self.place / "state" / "relaunch" / os.uname().nodename

    def launch(
        self,
        *args: str,
        check: bool = True,
        input: str | None = None,  # noqa: A002 - as subprocess.run has it
        cwd: Path | None = None,
        env: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run ``launch`` to its end.

        Args:
            args: What follows ``launch``.
            check: Fail the test, and show what it said, where it does not exit with 0.
            input: Its standard input.
            cwd: Where it runs.
            env: On top of the host's environment.
        """
        done = subprocess.run(
            [*self.enter, LAUNCH, *args],
            env=self.env | (env or {}),
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=COMMAND_S,
            cwd=cwd,
            check=False,
        )
        assert done.returncode == 0 or not check, (
            f"launch {' '.join(args)} exited with {done.returncode}: {done.stderr}"
        )
        return done

    def popen(self, *args: str, **options: Any) -> subprocess.Popen[str]:
        """Start ``launch`` and go on; its output is piped unless told otherwise. At the end it is ended, if need be."""
        settings = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen([*self.enter, str(LAUNCH), *args], **(settings | {"env": self.env} | options))
        self._started.append(process)
        return process

    def serve(self) -> None:
        """Start the launcher; returns once it answers."""
        self.launch("serve", "--background")

    def status(self) -> dict[str, Any]:
        """What the launcher says of itself."""
        status: dict[str, Any] = call(self.socket, "GetStatus")["status"]
        return status

    @property
    def launcher_pid(self) -> int:
        """The launcher that answers now."""
        return int(self.status()["launcher_pid"])

    @property
    def keeper_pid(self) -> int:
        """The keeper of the launcher that answers now."""
        return int(self.status()["keeper_pid"])

    def jobs(self, *patterns: str) -> dict[str, dict[str, Any]]:
        """The jobs by label, as the launcher tells them."""
        answer = call(self.socket, "List", {"patterns": patterns} if patterns else None)
        return {job["label"]: job for job in answer["jobs"]}

    def job(self, label: str) -> dict[str, Any]:
        """One job, as the launcher tells it."""
        return self.jobs(label)[label]

    def events(self, *args: str) -> list[dict[str, Any]]:
        """The journal's events, as ``launch events --json`` tells them."""
        return [json.loads(line) for line in self.launch("events", "--json", *args).stdout.splitlines()]

    def wait_for(self, condition: Callable[[], Value], timeout_s: float = DEADLINE_S, what: str = "") -> Value:
        """The first true value of a condition that nothing announces; fails by name after the deadline."""
        return wait_for(condition, timeout_s, what)

    def processes(self) -> list[int]:
        """Every living process with this host's environment: launcher, keeper and jobs with their children."""
        mark = f"XDG_STATE_HOME={self.place}/state".encode()
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdecimal() and int(entry) != os.getpid():
                with suppress(OSError):
                    if mark in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0") and alive(int(entry)):
                        found.append(int(entry))
        return found

    def ended(self, *but: int) -> bool:
        """Whether no process is left but these. Finding all takes long, so those found last are looked at first."""
        self._seen = [pid for pid in self._seen if alive(pid)] or [p for p in self.processes() if p not in but]
        return not self._seen

    def tidy(self) -> bool:
        """End the jobs, the subscriptions and the commands of a test.

        Returns:
            Whether the launcher is good for another test: it has not been another one meanwhile, and nothing is left.
        """
        with suppress(OSError, AssertionError), Peer(self.socket) as peer:
            jobs, status = peer.call("List")["jobs"], peer.call("GetStatus")["status"]
            active = [job["label"] for job in jobs if job["state"] in _ACTIVE]
            if active:
                peer.call("Stop", {"patterns": active, "timeout_s": 0})
            if status["subscribers"]:
                peer.call("Unsubscribe", {"ids": [one["id"] for one in status["subscribers"]]})
            self._end_commands()
            both = status["keeper_pid"], status["launcher_pid"]
            wait_for(lambda: self.ended(*both), what="the end of what a test has started")
            return bool(status["launcher_starts"] == 1 and all(map(alive, both)))
        return False

    def _end_commands(self) -> None:
        for process in self._started:
            with process:
                process.kill()
        self._started.clear()

    def stop(self) -> None:
        """Shut down whatever serves, and prove that nothing is left."""
        with suppress(OSError, AssertionError), Peer(self.socket, COMMAND_S) as peer:
            peer.call("Shutdown")
        wait_for(self.ended, what="the end of every process")

    def end(self) -> None:
        """Shut down whatever serves, and prove that nothing is left; what is left is ended, and the test fails."""
        try:
            self.stop()
        finally:
            for pid in self.processes():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._end_commands()
            shutil.rmtree(self.place, ignore_errors=True)


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(pid: int) -> Sequence[int]:
    """The children that a process has now."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
