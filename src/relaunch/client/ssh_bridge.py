"""One ssh that runs ``launch bridge``, or its like, on a host, and the stream through it.

Knows how the far end is told from what a login shell prints before it, and when it is over. Refuses to know what its
end means (``ssh_failures``).
"""

import asyncio
import json
import os
import socket
from contextlib import suppress
from typing import Any, Self

from relaunch.client.channel import Channel
from relaunch.client.ssh_process import SshStream
from relaunch.errors import HostUnreachable, ProtocolBroken

BANNER_BYTES_MAX = 64 * 1024
_GREETING_START = b'{"relaunch":'
_END_S = 2.0
_READ_BYTES = 4096


class EndedSilently(Exception):
    """An ssh ended, and no bridge has said a word."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(status, said)
        self.status = status
        self.said = said


class Bridge:
    """An ssh that runs ``launch bridge``, and our end of its standard streams.

    Args:
        host: Named in errors.
        ssh: The ssh, this one's from now on.
    """

    def __init__(self, host: str, ssh: SshStream) -> None:
        self._host = host
        self._process = ssh.process
        self._stream = socket.socket(fileno=ssh.stream.detach())
        # It does not wait already; this tells the new object so.
        self._stream.setblocking(False)
        self._errors = ssh.errors
        self._channel: Channel | None = None

    @classmethod
    def start(cls, host: str, command: list[str], *, prompts: bool) -> Self:
        """Start one; returns at once.

        Args:
            host: Named in errors.
            command: The ssh.
            prompts: Whether it may ask on the terminal.

        Raises:
            HostUnreachable: ssh cannot be run.
        """
        return cls(host, SshStream.start(host, command, prompts=prompts))

    async def greeting(self) -> tuple[dict[str, Any], bytes]:
        """The bridge's one message, whatever a login shell has printed before, and what has come after it.

        Raises:
            EndedSilently: There was none.
            ProtocolBroken: Too much was printed.
        """
        loop = asyncio.get_running_loop()
        read = b""
        while data := await loop.sock_recv(self._stream, _READ_BYTES):
            read += data
            if b"\0" in data and (found := _find_greeting(read)):
                return found
            if len(read) > BANNER_BYTES_MAX:
                await self.kill()
                raise ProtocolBroken(
                    f"{self._host}: its login shell printed more than {BANNER_BYTES_MAX} bytes, and nothing of launch"
                )
        status = await self._process.wait()
        said = os.pread(self._errors, BANNER_BYTES_MAX, 0).decode("utf-8", "replace")
        await self.kill()
        raise EndedSilently(status, said)

    async def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Send a line, and give the message that answers it; for a far end that says nothing unasked.

        Raises:
            HostUnreachable: The connection was lost.
            ProtocolBroken: The answer is none, or too long.
        """
        loop = asyncio.get_running_loop()
        answer = b""
        try:
            await loop.sock_sendall(self._stream, json.dumps(question).encode() + b"\n")
            while not answer.endswith(b"\0"):
                data = await loop.sock_recv(self._stream, _READ_BYTES)
                if not data:
                    raise HostUnreachable(f"{self._host}: the connection was lost")
                answer += data
                if len(answer) > BANNER_BYTES_MAX:
                    raise ProtocolBroken(f"{self._host}: an answer of over {BANNER_BYTES_MAX} bytes")
            found = json.loads(answer[:-1])
        except OSError:
            raise HostUnreachable(f"{self._host}: the connection was lost") from None
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ProtocolBroken(f"{self._host}: an answer that is not a JSON object")
        return found

    async def join(self, greeting: dict[str, Any], rest: bytes) -> Channel:
        """The channel to the launcher, over this bridge; it ends with the channel."""
        self._forget_errors()
        self._channel = await Channel.over(self._stream, path=str(greeting["socket"]), host=self._host, received=rest)
        return self._channel

    async def ended(self) -> None:
        """Return when the process has ended."""
        await self._process.wait()

    async def end(self) -> None:
        """End it: by itself, as its input has ended; at once, where its host is cut off."""
        if self._channel is not None:
            self._channel.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_S):
                await self._process.wait()
        await self.kill()

    async def kill(self, *, with_children: bool = False) -> None:
        """End it at once.

        Args:
            with_children: Whether what it has started is of no use without it, as on the way to a jump host. A master
                that stays needs that.
        """
        if self._channel is None:
            self._stream.close()
        self._forget_errors()
        self._process.kill(with_children=with_children)
        await self._process.wait()

    def _forget_errors(self) -> None:
        if self._errors >= 0:
            os.close(self._errors)
            self._errors = -1


def _find_greeting(read: bytes) -> tuple[dict[str, Any], bytes] | None:
    """The greeting in what was read, and what follows it."""
    begin = read.find(_GREETING_START)
    while begin >= 0:
        line, end, rest = read[begin:].partition(b"\0")
        with suppress(ValueError):
            if end and isinstance(greeting := json.loads(line), dict):
                return greeting, rest
        begin = read.find(_GREETING_START, begin + 1)
    return None
