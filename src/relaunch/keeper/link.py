"""One launcher: its process, and the keeper's end of the socket to it.

Refuses to know what orders and reports mean. Never blocks on a launcher that does not read: what it has not read waits
here. What waits is bounded by the keys that are held (two reports each): see `wants`.
"""

import os
import select
import signal
import subprocess
import time
from _socket import socketpair  # what `socket` re-exports, without a quarter of a megabyte of enumerations

from relaunch.keeper.wire import Decoder, Message

# Past this many bytes of unread reports no further orders are read, so only the ends of held keys add to them.
UNREAD_MAX = 1 << 20
_READ = 1 << 13


class Garbage(Exception):
    """The launcher sent what is not an order; nothing that it sends can be believed any more."""


class Link:
    """A launcher that has been started. The caller reaps `pid`, and registers `fd` with epoll for `wants()`."""

    def __init__(self, argv: list[str], passed: list[int]) -> None:
        """Start a launcher, with `--keeper-fd N` added to its arguments.

        Args:
            argv: The launcher's program and arguments.
            passed: Descriptors that it gets, each under its own number; the caller keeps them.

        Raises:
            OSError: It could not be started.
        """
        self._decoder = Decoder()
        self._unread = bytearray()
        self._socket, theirs = socketpair()
        try:
            number = theirs.fileno()
            process = subprocess.Popen([*argv, "--keeper-fd", str(number)], pass_fds=[number, *passed])
        except OSError:
            self._socket.close()
            raise
        finally:
            theirs.close()
        process.returncode = 0  # the keeper reaps
        self._socket.setblocking(False)
        self.pid = process.pid
        self.fd = self._socket.fileno()
        self.started_at = time.monotonic()
        self.ended = False
        """True = nothing will come any more: the launcher has closed its end, or sent garbage."""

    def report(self, report: bytes) -> None:
        """Queue an encoded report; `flush` sends."""
        self._unread += report

    @property
    def congested(self) -> bool:
        """Whether the launcher has left so much unread that it gets no more answers until it reads."""
        return len(self._unread) > UNREAD_MAX

    def wants(self) -> int:
        """The epoll events to wait for."""
        return (0 if self.congested else select.EPOLLIN) | (select.EPOLLOUT if self._unread else 0)

    def flush(self) -> None:
        """Send as much of the queued reports as the launcher takes now."""
        try:
            while self._unread:
                sent = self._socket.send(self._unread)
                del self._unread[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self._unread.clear()  # it has gone; its end is noticed elsewhere

    def receive(self) -> list[Message]:
        """The orders that one read completes. Sets `ended` when nothing more will come.

        Raises:
            Garbage: See there; `ended` is set.
        """
        return self._decoded(self._read() or b"")

    def rest(self) -> list[Message]:
        """The orders that a launcher left unread behind, as far as they can be believed."""
        orders: list[Message] = []
        try:
            while not self.ended and (data := self._read()) is not None:
                orders += self._decoded(data)
        except Garbage:
            pass
        return orders

    def _read(self) -> bytes | None:
        """What is there, None where nothing is for now."""
        try:
            data = self._socket.recv(_READ)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        self.ended = not data
        return data

    def _decoded(self, data: bytes) -> list[Message]:
        try:
            orders = self._decoder.feed(data)
            if not all(isinstance(order, dict) for order in orders):
                raise ValueError("not an object")
        except (ValueError, RecursionError) as error:
            self.ended = True
            raise Garbage(str(error)) from error
        return orders

    def kill(self) -> None:
        """End the launcher's process at once; harmless where it has ended and waits to be reaped."""
        os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Give the socket back; the process has been reaped."""
        self._socket.close()
