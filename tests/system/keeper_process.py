"""A keeper as a real process, and the test in the launcher's place.

The launcher that the keeper starts is a few lines which hand their keeper socket to the test and then do as told. The
test speaks for it, and can let it read or not, stop it, kill it or have it exit.
"""

import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from relaunch.keeper import wire
from relaunch.keeper.wire import Message

MAIN = Path(wire.__file__).with_name("__main__.py")
DEADLINE_S = 20.0
PR_SET_CHILD_SUBREAPER = 36

LAUNCHER = """
import os, socket, sys
fd = int(sys.argv[sys.argv.index("--keeper-fd") + 1])
control = socket.socket(socket.AF_UNIX)
control.connect(sys.argv[1])
socket.send_fds(control, [repr((os.getpid(), sys.argv)).encode()], [fd])
os.close(fd)
order = control.recv(16)
if order:
    os._exit(int(order))
control.recv(1)
"""


def until(condition: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """The first true value of a condition that nothing announces; fails by name after the deadline."""
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < end, f"{what}: not within {deadline_s} s"
        time.sleep(0.002)
    return value


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def ticks(pid: int) -> int:
    """Start time of a process as the kernel has it."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def status(pid: int, name: str) -> str:
    """A field of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split(":")[1].strip() for line in lines if line.startswith(name + ":"))


def own_bytes(pid: int) -> int:
    """Resident memory that is the process's own, and not the shared pages of the interpreter's file."""
    return int(status(pid, "RssAnon").split()[0]) * 1024


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class Launcher:
    """One launcher that the keeper has started, played by the test."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        data, (fd, *_), _, _ = socket.recv_fds(control, 4096, 1)
        self.pid, self.argv = eval(data)
        self.socket = socket.socket(fileno=fd)
        self.socket.settimeout(DEADLINE_S)
        self._decoder = wire.Decoder()
        self._reports: list[Message] = []

    def send(self, *orders: Message) -> None:
        self.socket.sendall(b"".join(wire.encode(order) for order in orders))

    def report(self, deadline_s: float = DEADLINE_S) -> Message:
        """The next report; fails when none comes."""
        self.socket.settimeout(deadline_s)
        while not self._reports:
            data = self.socket.recv(1 << 16)
            assert data, "the keeper closed the socket"
            self._reports += self._decoder.feed(data)
        return self._reports.pop(0)

    def expect(self, event: str, **fields: Any) -> Message:
        """The next report, which has to be this one."""
        report = self.report()
        shown = {name: report.get(name) for name in fields}
        assert (report["event"], shown) == (event, fields), report
        return report

    def reports(self, event: str, count: int) -> dict[str, Message]:
        """The next `count` reports of this kind by key; others between them are dropped."""
        found: dict[str, Message] = {}
        while len(found) < count:
            report = self.report()
            if report["event"] == event:
                found[report["key"]] = report
        return found

    def up(self) -> "Launcher":
        """Read hello, say up."""
        self.expect("hello")
        self.send({"op": "up"})
        return self

    def spawn(self, key: str, *argv: str, **fields: Any) -> None:
        self.send(spawn_order(key, *argv, **fields))

    def exit(self, status: int) -> None:
        """Have the launcher's process exit by itself."""
        self._control.sendall(str(status).encode())

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    def close(self) -> None:
        """Close the last descriptor of the launcher's end; its process goes on."""
        self.socket.close()


def spawn_order(key: str, *argv: str, **fields: Any) -> Message:
    """A spawn order with everything at its default but the fields given."""
    order: Message = {"op": "spawn", "key": key, "argv": list(argv), "program": argv[0], "env": {}, "cwd": "/"}
    order |= {"stdin": None, "stdout": None, "stderr": None, "umask": 0o22, "nice": None, "limits": {}}
    return order | fields


class KeeperProcess:
    """A running keeper."""

    def __init__(self, directory: Path, *options: str, prepare: Callable[[], object] | None = None, **popen: Any):
        self._listener = socket.socket(socket.AF_UNIX)
        path = str(directory / "launchers")
        with suppress(FileNotFoundError):
            os.unlink(path)
        self._listener.bind(path)
        self._listener.listen()
        self._listener.settimeout(DEADLINE_S)
        libc = ctypes.CDLL(None)

        def before_exec() -> None:
            libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
            if prepare is not None:
                prepare()

        script = directory / "launcher.py"
        script.write_text(LAUNCHER)
        launcher = [sys.executable, "-IS", str(script), path]
        self.stderr = directory / "keeper.stderr"
        with self.stderr.open("ab") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-IS", str(MAIN), *options, "--", *launcher],
                stdin=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
                preexec_fn=before_exec,  # noqa: PLW1509 - before any thread
                **popen,
            )
        self.pid = self.process.pid
        self._launchers: list[Launcher] = []

    def launcher(self, deadline_s: float = DEADLINE_S) -> Launcher:
        """The next launcher that the keeper starts."""
        self._listener.settimeout(deadline_s)
        control, _ = self._listener.accept()
        self._launchers.append(Launcher(control))
        return self._launchers[-1]

    def no_launcher(self, seconds: float) -> bool:
        """Whether no launcher is started for this long."""
        return not select.select([self._listener], [], [], seconds)[0]

    def children(self) -> list[int]:
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def descriptors(self) -> list[str]:
        folder = Path(f"/proc/{self.pid}/fd")
        return sorted(os.readlink(fd) for fd in folder.iterdir())

    def log(self) -> str:
        return self.stderr.read_text()

    def settled(self) -> None:
        """Wait until the keeper sleeps in its poll."""
        until(lambda: "epoll" in Path(f"/proc/{self.pid}/wchan").read_text(), "the keeper waits")

    def close(self) -> None:
        """End the keeper and what it started, and nothing else."""
        if self.process.poll() is None:
            os.kill(self.pid, signal.SIGSTOP)  # so that no child's id is reaped and reused while we go through them
            for pid in self.children():
                os.kill(pid, signal.SIGKILL)
            self.process.kill()
        self.process.wait()
        for launcher in self._launchers:
            launcher._control.close()
            launcher.socket.close()
        self._listener.close()


@contextmanager
def keeper(directory: Path, *options: str, **more: Any) -> Iterator[KeeperProcess]:
    running = KeeperProcess(directory, *options, **more)
    try:
        yield running
    finally:
        running.close()


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
