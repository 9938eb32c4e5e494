"""``launch subscribe`` as a test runs it: what it says, line by line, and how it ends."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.system.launcher_host import COMMAND_S, Host

HOST = f"  {os.uname().nodename}"


class Subscribing:
    """A ``launch subscribe`` that runs, and follows."""

    def __init__(self, host: Host, *args: str) -> None:
        self.process = host.popen("subscribe", *args)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._out, self._err = self.process.stdout, self.process.stderr
        self.first = self.said()

    def said(self) -> str:
        """The next line on standard error."""
        return self._err.readline()

    def line(self) -> str:
        """The next line, without its time."""
        line = self._out.readline()
        assert line[:2] == "20", line
        return line[23:].rstrip("\n")

    def event(self) -> dict[str, Any]:
        """The next event, of ``--json``."""
        event: dict[str, Any] = json.loads(self._out.readline())
        return event

    def kinds(self, count: int) -> list[str]:
        """The kinds of the next events, of ``--json``."""
        return [str(self.event()["type"]).removeprefix("io.relaunch.") for _ in range(count)]

    def end(self, number: int = signal.SIGINT, status: int = 0) -> tuple[str, str]:
        """End it with a signal; gives what was left to read."""
        self.process.send_signal(number)
        rest = self.process.communicate(timeout=COMMAND_S)
        assert self.process.returncode == status, rest
        return rest


@contextmanager
def subscribing(host: Host, *args: str) -> Iterator[Subscribing]:
    """A subscriber that is registered, or follows."""
    one = Subscribing(host, *args)
    expected = "launch: listening at " if "--serve" in args else "launch: following the launcher of "
    assert one.first.startswith(expected), one.first
    assert one.first.endswith(f"the launcher of {os.uname().nodename}\n")
    try:
        yield one
    finally:
        one.process.kill()


def ends(host: Host, label: str, code: int = 3) -> None:
    """Have a job end."""
    host.launch("submit", "-l", label, "-p", "sh", "-c", f"exit {code}")
    host.launch("wait", label, check=False)
