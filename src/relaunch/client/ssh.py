"""A launcher on another host, over the user's own ssh.

Knows the ways there, quickest first: the launcher's socket as the host's master forwards it; else ``launch bridge``,
over the master or making it. Knows what each ends with. Refuses to know ssh's options and words (``ssh_command``,
``ssh_failures``), files (``masters``), and what is asked (``connection``).
"""

import asyncio
import json
import os
import random
import socket
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from relaunch import __version__
from relaunch.client import ssh_command
from relaunch.client.calls import Call
from relaunch.client.channel import Channel
from relaunch.client.connection import Connection
from relaunch.client.masters import How, Master, Record, Turn, no_ssh
from relaunch.client.ssh_command import check_host
from relaunch.client.ssh_failures import failure, worth_another_try
from relaunch.errors import (
    NoLauncher,
    OtherVersion,
    ProtocolBroken,
    RelaunchError,
    TimedOut,
    Unreachable,
    from_wire,
)

TIMEOUT_S = 10.0
PROMPTED_S = 120.0
"""How long connecting may take where a person may have to type something."""

BANNER_BYTES_MAX = 64 * 1024
_GREETING_START = b'{"relaunch":'
# A launcher that is being replaced answers well within this.
_FORWARD_S = 5.0
_TURN_S = 0.02
_TRIES = 6
_BACKOFF_S, _BACKOFF_MAX_S = 0.1, 1.5
_END_S = 2.0
_READ_BYTES = 4096


def connect_host(host: str, *, timeout_s: float | None = None, prompts: bool = False) -> "HostConnection":
    """A connection to a launcher on another host, to be entered with ``async with``, which connects.

    Args:
        host: As ssh takes it: a name, an alias of its configuration, ``USER@HOST``.
        timeout_s: How long connecting may take; 10 seconds, or two minutes with prompts, unless told otherwise.
        prompts: Whether ssh may ask for a passphrase or password on the terminal.

    Raises:
        BadHost: It is no host's name.
    """
    return HostConnection(host, timeout_s=timeout_s, prompts=prompts)


class HostConnection(Connection):
    """A launcher on another host, connected; see ``Connection`` for what it can be asked. Made by ``connect_host``.

    What was connected stays so for a while after this is closed, for the next one to use.

    Attributes:
        host: As it was asked for.
        how: What the latest connection was: through a forwarded socket, or a ``launch bridge``.
        client: This host's address as that host sees it; empty before it is known.
    """

    def __init__(self, host: str, *, timeout_s: float | None = None, prompts: bool = False) -> None:
        super().__init__()
        self.host = check_host(host)
        self.how: How = "bridge"
        self.client = ""
        self._prompts = prompts
        self._timeout_s = timeout_s if timeout_s is not None else (PROMPTED_S if prompts else TIMEOUT_S)
        self._master: Master | None = None
        self._bridges: dict[asyncio.Task[None], _Bridge] = {}
        self._settling: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        try:
            return await super().__aenter__()
        except BaseException:
            await self.aclose()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close, and return when nothing of this connection is left but the host's master."""
        self.close()
        if self._settling:
            await asyncio.wait(self._settling)
        await asyncio.gather(*(bridge.end() for bridge in self._bridges.values()))
        if self._bridges:
            await asyncio.wait(self._bridges)

    async def _open(self) -> Channel:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._reach()
        except TimeoutError:
            raise TimedOut(
                f"{self.host}: no answer within {self._timeout_s:g} seconds; nothing was asked of it"
            ) from None

    async def _reach(self) -> Channel:
        """Take the quickest way there is. Where there is none yet, one process makes it and the others wait for it."""
        master = self._master = self._master or Master.of(self.host)
        while True:
            record = master.read()
            if record is not None:
                self.client = record.client
                if record.how == "forward" and (channel := await self._through(record.path)):
                    return channel
                if record.how == "bridge" and master.alive():
                    return await self._bridged(master, None)
            turn = master.take_turn()
            if turn is not None:
                return await self._bridged(master, turn)
            await asyncio.sleep(_TURN_S)

    async def _through(self, path: str) -> Channel | None:
        """A channel through a forwarded socket; None where no launcher answers at its far end."""
        channel: Channel | None = None
        try:
            async with asyncio.timeout(_FORWARD_S):
                channel = await Channel.open(path, host=self.host)
                # Anybody may be at the far end, or nobody: only an answer tells that what is sent next will arrive.
                await channel.ask(_who())
        except TimeoutError:
            # The master is cut off, or stuck. Whoever waits for something over it would wait for ever.
            if self._master is not None:
                await self._master.end()
        except RelaunchError:
            pass
        else:
            self.how = "forward"
            return channel
        if channel is not None:
            channel.close()
        return None

    async def _bridged(self, master: Master, turn: Turn | None) -> Channel:
        """A channel over a bridge. With the turn, the master is made by it, and then what it can do is found out."""
        try:
            if turn is not None and not master.alive():
                master.clean(but_turn=True)
                master.write(Record(host=self.host))
            bridge, greeting, rest = await self._start(master)
            channel = await bridge.join(self.host, greeting, rest)
            ended = asyncio.create_task(bridge.ended())
            self._bridges[ended] = bridge
            ended.add_done_callback(self._bridges.pop)
        except BaseException:
            if turn is not None:
                if not master.alive():
                    master.clean()
                turn.give_back()
            raise
        self.how = "bridge"
        self.client = str(greeting.get("client") or "")
        if turn is not None:
            settling = asyncio.create_task(self._settle(master, turn, channel, str(greeting["socket"])))
            self._settling.add(settling)
            settling.add_done_callback(self._settling.discard)
        return channel

    async def _start(self, master: Master) -> "tuple[_Bridge, dict[str, Any], bytes]":
        """Start a bridge and hear it out; where ssh was turned away for the moment, again."""
        for attempt in range(1, _TRIES + 1):
            bridge = await _Bridge.start(self.host, master.control, self._timeout_s, prompts=self._prompts)
            try:
                greeting, rest = await bridge.greeting()
                self._check(greeting)
            except _EndedSilently as ended:
                if attempt == _TRIES or not worth_another_try(ended.status, ended.said):
                    raise failure(self.host, ended.status, ended.said, prompts=self._prompts) from None
            except BaseException:
                await bridge.kill()
                raise
            else:
                return bridge, greeting, rest
            limit_s = min(_BACKOFF_S * 2**attempt, _BACKOFF_MAX_S)
            await asyncio.sleep(random.uniform(limit_s / 4, limit_s))  # noqa: S311 - spreads clients, hides nothing
        raise AssertionError("unreachable")  # pragma: no cover - the last attempt returns or raises

    def _check(self, greeting: dict[str, Any]) -> None:
        version = str(greeting["relaunch"])
        if version.partition(".")[0] != __version__.partition(".")[0]:
            raise OtherVersion(
                f"{self.host}: its launch has version {version}, this one {__version__}; install this one there"
            )
        if "error" in greeting:
            error = from_wire(str(greeting["error"]), {"message": f"{self.host}: {greeting.get('message')}"})
            if isinstance(error, NoLauncher):
                raise NoLauncher(
                    f"{self.host}: no launcher runs there; start one with: ssh {self.host} launch serve --background"
                )
            raise error
        if not isinstance(greeting.get("socket"), str):
            raise ProtocolBroken(f"{self.host}: its launch bridge did not say where the launcher's socket is")

    async def _settle(self, master: Master, turn: Turn, bridged: Channel, remote: str) -> None:
        """Find out what the master can do, put it down for everybody, and leave the bridge if it can do better."""
        try:
            pid = await master.pid()
            if pid is None:
                return
            path = await master.forward(remote)
            tried = await self._through(path) if path else None
            if path and tried is None:
                await master.cancel(path, remote)
            how: How = "forward" if tried else "bridge"
            master.write(Record(host=self.host, pid=pid, how=how, path=path or "", client=self.client))
            if tried is not None:
                tried.close()
                bridged.retire()
        except (OSError, Unreachable):
            # Then it is found out the next time.
            return
        finally:
            turn.give_back()


class _EndedSilently(Exception):
    """An ssh ended, and no bridge has said a word."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(status, said)
        self.status = status
        self.said = said


class _Bridge:
    """An ssh that runs ``launch bridge``, and our end of its standard streams."""

    def __init__(self, process: asyncio.subprocess.Process, stream: socket.socket, errors: int) -> None:
        self._process = process
        self._stream = stream
        self._errors = errors
        self._channel: Channel | None = None

    @classmethod
    async def start(cls, host: str, control: str, timeout_s: float, *, prompts: bool) -> Self:
        """Start one; returns at once."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        # A file and no pipe: a master that stays in the background could hold a pipe open.
        errors = os.memfd_create("ssh")
        try:
            process = await asyncio.create_subprocess_exec(
                *ssh_command.bridge(host, control, timeout_s, prompts=prompts),
                env=ssh_command.environment(),
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=errors,
                # Without a terminal it cannot be asked on one, nor be interrupted from there.
                start_new_session=not prompts,
            )
        except OSError as error:
            ours.close()
            os.close(errors)
            raise no_ssh(error) from None
        finally:
            theirs.close()
        return cls(process, ours, errors)

    async def greeting(self) -> tuple[dict[str, Any], bytes]:
        """The bridge's one message, whatever a login shell has printed before, and what has come after it.

        Raises:
            _EndedSilently: There was none.
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
                    f"its login shell printed more than {BANNER_BYTES_MAX} bytes, and nothing of launch"
                )
        status = await self._process.wait()
        said = os.pread(self._errors, BANNER_BYTES_MAX, 0).decode("utf-8", "replace")
        await self.kill()
        raise _EndedSilently(status, said)

    async def join(self, host: str, greeting: dict[str, Any], rest: bytes) -> Channel:
        """The channel to the launcher, over this bridge; it ends with the channel."""
        self._forget_errors()
        self._channel = await Channel.over(self._stream, path=str(greeting["socket"]), host=host, received=rest)
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

    async def kill(self) -> None:
        """End it at once."""
        if self._channel is None:
            self._stream.close()
        self._forget_errors()
        with suppress(ProcessLookupError):
            self._process.kill()
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


def _who() -> Call:
    call = Call("GetInfo", {})
    call.method = "org.varlink.service.GetInfo"
    return call
