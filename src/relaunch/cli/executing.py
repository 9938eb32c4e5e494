"""Runs a command for an event, again and again until it exits with 0.

Knows what the command is given: the event on its stdin, and the most of it in its environment. Refuses to know where
events come from, and to give one up.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

from relaunch.cli.output import encoded, say_if_room
from relaunch.cli.telling import host_of
from relaunch.client.quick import encode
from relaunch.fields import signal_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Iterator, Mapping

    from relaunch.event import Event

AGAIN_S_MIN, AGAIN_S_MAX = 1.0, 60.0
# The kernel takes at most 128 KiB for each.
_VALUE_BYTES_MAX = 16 * 1024
_ENDS_WITHIN_S = 5.0


class Executor:
    """Runs one command, for one event at a time.

    Args:
        command: What ``sh -c`` is given.

    Attributes:
        busy: Whether there is an event for which it has not exited with 0.
    """

    def __init__(self, command: str) -> None:
        self._command = command
        self._ending = asyncio.Event()
        self.busy = False

    @property
    def ended(self) -> bool:
        """Whether the command is started no more."""
        return self._ending.is_set()

    async def handle(self, event: Event) -> bool:
        """Run the command until it has exited with 0.

        Returns:
            Whether it has; not so where the end came first.
        """
        self.busy = True
        try:
            return await self._until_done(event)
        finally:
            self.busy = False

    async def _until_done(self, event: Event) -> bool:
        again_s = AGAIN_S_MIN
        while True:
            failure = await self._run(event)
            if failure is None:
                return True
            if self.ended:
                return False
            what = f"{event.kind} {event.label or host_of(event.source)}"
            say_if_room(f"--exec for {what}: {failure}; it is run again in {again_s:g} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), again_s)
                return False
            again_s = min(2 * again_s, AGAIN_S_MAX)

    def end(self) -> None:
        """Start the command no more; one that runs may finish, for a while."""
        self._ending.set()

    async def _run(self, event: Event) -> str | None:
        try:
            with _file_of(encode(event.to_wire()).encode() + b"\n") as given:
                process = await asyncio.create_subprocess_exec(
                    "/bin/sh",
                    "-c",
                    self._command,
                    stdin=given,
                    env={**os.environb, **environment(event)},
                    # An interrupt typed at the terminal ends the subscriber, which lets the command finish.
                    process_group=0,
                )
        except OSError as error:
            return f"it cannot be run: {error.strerror}"
        try:
            return await self._outcome(process)
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    async def _outcome(self, process: Process) -> str | None:
        done = asyncio.create_task(process.wait())
        ending = asyncio.create_task(self._ending.wait())
        try:
            await asyncio.wait({done, ending}, return_when=asyncio.FIRST_COMPLETED)
            if not done.done():
                await asyncio.wait({done}, timeout=_ENDS_WITHIN_S)
        finally:
            done.cancel()
            ending.cancel()
        status = process.returncode
        if status is None:
            return "it did not end"
        if status < 0:
            return f"it was ended by signal {signal_name(-status)}"
        return f"it exited with {status}" if status else None


@contextlib.contextmanager
def _file_of(data: bytes) -> Iterator[int]:
    """A file on no disk, to be read from its beginning. Unlike a pipe, nobody waits where it is not read."""
    fd = os.memfd_create("event", os.MFD_CLOEXEC)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd
    finally:
        os.close(fd)


def environment(event: Event) -> Mapping[bytes, bytes]:
    """What a command finds in its environment of an event; what is not said of it is not there."""
    data = event.data
    values = {
        "KIND": event.kind,
        "ID": event.id,
        "SOURCE": event.source,
        "HOST": host_of(event.source),
        "TIME": event.to_wire()["time"],
        "LABEL": event.label,
        "REASON": data.get("reason"),
        "CODE": data.get("code"),
        "SIGNAL": data.get("signal"),
        "PID": data.get("pid"),
        "MESSAGE": data.get("message"),
        "REDELIVERED": "1" if event.redelivered else None,
    }
    return {
        f"LAUNCH_EVENT_{name}".encode(): encoded(str(value)).replace(b"\0", b"")[:_VALUE_BYTES_MAX]
        for name, value in values.items()
        if value is not None
    }
