"""Regular expressions searched in lines, in a process apart: see ``matching``.

Knows how that one is started, asked and ended. Refuses to know where lines come from.
"""

import asyncio
import socket
import subprocess
import sys

from relaunch.launcher import matching

BATCH_BYTES_MAX = 64 * 1024


class TooSlow(Exception):
    """The expression takes longer for these lines than anybody waits, or cannot be used at all."""


class Matcher:
    """One process, there while anybody needs it. Lives on one event loop; answers one question after the other."""

    def __init__(self) -> None:
        self._users = 0
        self._turn = asyncio.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def __enter__(self) -> None:
        self._users += 1

    def __exit__(self, *_: object) -> None:
        self._users -= 1
        if not self._users:
            self._end()

    async def found(self, pattern: str, lines: list[bytes]) -> bool:
        """Whether the expression is found in one of the lines, which hold no newline.

        Raises:
            TooSlow: As it says.
            OSError: No process can be made.
        """
        data, expression = b"\n".join(lines), pattern.encode("utf-8", "surrogatepass")
        question = matching.LENGTHS.pack(len(expression), len(data)) + expression + data
        async with self._turn:
            asked = self._socket or self._begin()
            done = False
            try:
                await asyncio.get_running_loop().sock_sendall(asked, question)
                answer = await asyncio.get_running_loop().sock_recv(asked, 1)
                done = bool(answer)
            except ConnectionError:
                answer = b""
            finally:
                if not done:  # it has died, or this task is cancelled and the answer would be taken for another's
                    self._end()
        if not answer:
            raise TooSlow
        return answer == matching.FOUND

    def _begin(self) -> socket.socket:
        ours, its = socket.socketpair()
        with its:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", matching.__file__],
                    stdin=its.fileno(),
                    stdout=its.fileno(),
                    stderr=subprocess.DEVNULL,
                )
            except OSError:
                ours.close()
                raise
        ours.setblocking(False)
        self._socket = ours
        return ours

    def _end(self) -> None:
        process, asked = self._process, self._socket
        self._process = self._socket = None
        if asked is not None:
            asked.close()
        if process is not None:
            process.kill()
            process.wait()
