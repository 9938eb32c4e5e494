"""What jobs say of themselves: READY=1 on the socket that NOTIFY_SOCKET names, see sd_notify(3).

One socket for all jobs; the keeper holds it open, so that what is said while there is no launcher waits. Whose word it
is, the kernel says: the process id that comes with each datagram, and that process's ancestors. Whatever else is said
is thrown away, descriptors too. Refuses to know what becomes of a job that is ready.
"""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable
from typing import Protocol

from relaunch.launcher.trees import Process, environment_of

READY = b"READY=1"
DATAGRAM_BYTES_MAX = 4096
# Of what has come, before others of the loop have their turn.
_AT_ONCE = 32
_GENERATIONS_MAX = 64
_CREDENTIALS = struct.Struct("3i")


class Heard(Protocol):
    """What is called with what was heard."""

    def __call__(self, key: str, *, certain: bool) -> None:
        """See ``Notices``."""


class Notices:
    """Hears jobs. Lives on one event loop.

    Args:
        fd: The socket; None where there is none.
        keeper_pid: The parent of first processes and of orphans.
        of: Gives the key of the job's run that a process is the first of, None where it is of none.
        on_ready: Gets the key of each run that has said so, again and again if it does, and whether that is certain;
            else it is only what the environment of a process says that the keeper is no ancestor of.
    """

    def __init__(
        self,
        fd: int | None,
        keeper_pid: int,
        of: Callable[[Process], str | None],
        on_ready: Heard,
    ) -> None:
        self._keeper_pid = keeper_pid
        self._of = of
        self._on_ready = on_ready
        self._socket = None if fd is None else socket.socket(fileno=fd)
        self.address: str | None = None
        if self._socket is not None:
            name = self._socket.getsockname()
            self.address = name if isinstance(name, str) else "@" + os.fsdecode(name[1:])
            self._socket.setblocking(False)
            # Always read: who waits for room in the socket's queue would hang.
            asyncio.get_running_loop().add_reader(self._socket, self._readable, self._socket)

    def close(self, *, finally_: bool) -> None:
        """Hear no more; where no launcher follows, what is at the socket's path goes too."""
        if self._socket is None:
            return
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        if finally_ and self.address and self.address.startswith("/"):
            with contextlib.suppress(OSError):
                os.unlink(self.address)

    def _readable(self, heard: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                # No room for descriptors: the kernel closes them, and who waits for just that goes on.
                data, told, _, _ = heard.recvmsg(DATAGRAM_BYTES_MAX, socket.CMSG_SPACE(_CREDENTIALS.size))
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                continue
            if READY not in data.split(b"\n"):
                continue
            for level, kind, value in told:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                    pid, uid, _ = _CREDENTIALS.unpack(value[: _CREDENTIALS.size])
                    self._said_by(pid, uid)

    def _said_by(self, pid: int, uid: int) -> None:
        """Tell whose tree a process belongs to, unless it is none's or has gone."""
        oldest = 0
        for _ in range(_GENERATIONS_MAX):
            found = _parent_and_ticks(pid)
            if found is None or pid <= 1:
                break
            parent, ticks = found
            key = self._of(Process(pid, ticks))
            if key is not None:
                self._on_ready(key, certain=True)
                return
            oldest, pid = pid, parent
            if parent == self._keeper_pid:
                break
        # It is the first process of a run that is not known to have begun yet, or descends from an orphan.
        certain = pid == self._keeper_pid
        if oldest and (certain or uid in {0, os.geteuid()}):
            env = environment_of(oldest)
            key = os.fsdecode(env.get(b"LAUNCH_JOB_ID", b"") + b"." + env.get(b"LAUNCH_JOB_RUN", b""))
            self._on_ready(key, certain=certain)


def _parent_and_ticks(pid: int) -> tuple[int, int] | None:
    """Of a zombie too: one that has just spoken may have ended since."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            words = file.read().rpartition(b")")[2].split()
        return int(words[1]), int(words[19])
    except (OSError, IndexError):
        return None
