"""``launch bridge``: joins standard input and output with the launcher's socket, for a client at the far end of ssh.

Knows how to say first where it is, and when to end: as soon as the launcher has hung up or nobody reads the output.
That the input has ended is passed on, so that answers under way still come. Refuses to know what is said. Imports next
to nothing: a remote command waits for it.
"""

from __future__ import annotations

import _socket
import os
import select

from relaunch.cli.output import STDOUT, write
from relaunch.client.quick import connected, encode
from relaunch.errors import RelaunchError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from relaunch.cli.grammar import Arguments

STDIN = 0
_CHUNK_BYTES = 64 * 1024
# What a pipe that polls as writable takes without making the writer wait, see pipe(7).
_WRITE_BYTES = select.PIPE_BUF


def run(_arguments: Arguments) -> int:
    """Say where this is, then carry bytes until one side has gone."""
    try:
        launcher, path = connected()
    except RelaunchError as error:
        _greet({"error": error.wire_name, "message": error.message})
        return error.exit_status
    _greet({"socket": path})
    _Bridge(launcher).carry()
    return 0


def _greet(more: dict[str, Any]) -> None:
    """Write the one message that is the bridge's own; ``relaunch`` comes first in it, for the client to find."""
    from relaunch import __version__

    # "CLIENT PORT SERVER PORT", see ssh(1).
    client = os.environ.get("SSH_CONNECTION", "").partition(" ")[0]
    write(encode({"relaunch": __version__, "host": os.uname().nodename, "client": client or None, **more}) + "\0")


class _Bridge:
    """Both directions at once, at most a chunk held in each; neither waits for the other."""

    def __init__(self, launcher: _socket.socket) -> None:
        self._launcher = launcher
        self._up = b""
        self._down = b""
        self._input_open = True
        self._output_open = True

    def carry(self) -> None:
        """Carry until the launcher has hung up and all it said is written, or nobody reads the output."""
        while self._output_open:
            ready = self._poll()
            # Told unasked where the reader has gone.
            if ready.get(STDOUT, 0) & (select.POLLERR | select.POLLHUP | select.POLLNVAL):
                return
            if STDIN in ready:
                self._read_input()
            there = ready.get(self._launcher.fileno(), 0)
            if there & select.POLLOUT:
                self._send()
            if there & ~select.POLLOUT and not self._down and not self._receive():
                return
            if ready.get(STDOUT, 0) & select.POLLOUT:
                self._write()

    def _poll(self) -> dict[int, int]:
        poll = select.poll()
        if self._input_open and not self._up:
            poll.register(STDIN, select.POLLIN)
        poll.register(STDOUT, select.POLLOUT if self._down else 0)
        there = (select.POLLOUT if self._up else 0) | (0 if self._down else select.POLLIN)
        if there:
            poll.register(self._launcher, there)
        return dict(poll.poll())

    def _read_input(self) -> None:
        try:
            self._up = os.read(STDIN, _CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._up = b""
        if not self._up:
            self._input_open = False
            try:
                self._launcher.shutdown(_socket.SHUT_WR)
            except OSError:
                return

    def _send(self) -> None:
        try:
            sent = self._launcher.send(self._up, _socket.MSG_NOSIGNAL | _socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            # It has hung up. What it said before is still to be read.
            sent = len(self._up)
        self._up = self._up[sent:]

    def _receive(self) -> bool:
        try:
            self._down = self._launcher.recv(_CHUNK_BYTES, _socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return bool(self._down)

    def _write(self) -> None:
        try:
            written = os.write(STDOUT, self._down[:_WRITE_BYTES])
        except BlockingIOError:
            return
        except OSError:
            self._output_open = False
            return
        self._down = self._down[written:]
