"""A launcher on another host, over the user's own ssh.

Knows the ways there, quickest first: the launcher's socket as the host's master forwards it; else ``launch bridge``,
over the master or making it. Knows what each ends with. Refuses to know ssh's options and words (``ssh_command``,
``ssh_failures``), its processes (``ssh_bridge``), files (``masters``), and what is asked (``connection``).
"""

import asyncio
import random
import time
from types import TracebackType
from typing import Any, Self

from relaunch import __version__
from relaunch.client import ssh_command
from relaunch.client.calls import Call
from relaunch.client.channel import Channel
from relaunch.client.connection import Connection
from relaunch.client.forwards import masters_directory
from relaunch.client.head_start import Begun
from relaunch.client.leftovers import Turn, remove, sweep
from relaunch.client.masters import How, Master, Record
from relaunch.client.ssh_bridge import Bridge, EndedSilently
from relaunch.client.ssh_command import TIMEOUT_S, check_host
from relaunch.client.ssh_failures import failure, is_proxied, worth_another_try
from relaunch.client.ssh_process import SshStream
from relaunch.client.versions import check_launcher, compatible
from relaunch.errors import (
    HostUnreachable,
    NoLauncher,
    OtherVersion,
    ProtocolBroken,
    RelaunchError,
    TimedOut,
    Unreachable,
    from_wire,
)

# A launcher that is being replaced answers well within this. One that does not is asked over a bridge, and waited for.
_FORWARD_S = 2.0
_VERSION_S = 1.0
_TURN_S = 0.02
# Some 50 ms are usual.
_SETTLE_S = 2.0
_TRIES = 6
_BACKOFF_S, _BACKOFF_MAX_S = 0.1, 1.5


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
        self._timeout_s = timeout_s if timeout_s is not None else (ssh_command.PROMPTED_S if prompts else TIMEOUT_S)
        self._master: Master | None = None
        self._begun: Begun | None = None
        self._bridges: dict[asyncio.Task[None], Bridge] = {}
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

    def take_over(self, begun: Begun) -> None:
        """Connect by what has been begun already; it is this one's from now on."""
        self._begun = begun

    async def settled(self) -> None:
        """Return when it is known what the connection that stays can do, where that is being found out."""
        if self._settling:
            await asyncio.wait(self._settling, timeout=_SETTLE_S)

    async def open_channel(self) -> Channel:
        """A connection of its own to the launcher, for one who has many calls to make over it.

        Raises:
            Unreachable: The host, or a launcher there, cannot be reached; nothing was asked of it.
        """
        return await self._open()

    async def aclose(self) -> None:
        """Close, and return when nothing of this connection is left but the host's master."""
        self.close()
        if self._begun is not None:
            self._begun.drop()
            self._begun = None
        if self._settling:
            _, unsettled = await asyncio.wait(self._settling, timeout=_SETTLE_S)
            for one in unsettled:
                one.cancel()
            await asyncio.gather(*unsettled, return_exceptions=True)
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
        except OSError as error:
            # As where there are no more descriptors.
            raise HostUnreachable(f"{self.host}: no connection can be made: {error.strerror}") from None

    async def _reach(self) -> Channel:
        """Take the quickest way there is. Where there is none yet, one process makes it and the others wait for it."""
        master = self._master = self._master or Master.of(self.host)
        sweep(masters_directory())
        if (begun := self._begun) is not None:
            self._begun = None
            return await self._bridged(master, begun.turn, begun.ssh)
        while True:
            record = master.read()
            if record is not None and record.how is not None:
                self.client = record.client
                if record.how == "forward" and (channel := await self._through(record.path)):
                    return channel
                if record.how == "bridge" and await master.answers():
                    turn = master.take_turn() if record.may_do_better(time.time()) else None
                    return await self._bridged(master, turn)
            turn = master.take_turn()
            if turn is None:
                await asyncio.sleep(_TURN_S)
            elif master.read() == record:
                return await self._bridged(master, turn)
            else:
                # Somebody has been at work meanwhile.
                turn.give_back()

    async def _through(self, path: str) -> Channel | None:
        """A channel through a forwarded socket; None where no launcher answers at its far end.

        Raises:
            OtherVersion: It must not be asked anything.
        """
        channel: Channel | None = None
        try:
            async with asyncio.timeout(_FORWARD_S):
                channel = await Channel.open(path, host=self.host)
                # Anybody may be at the far end, or nobody: only an answer tells that what is sent next will arrive.
                version = await channel.ask(_who())
            check_launcher(self.host, version)
        except BaseException as error:
            if channel is not None:
                channel.close()
            if isinstance(error, TimeoutError) or (
                isinstance(error, RelaunchError) and not isinstance(error, OtherVersion)
            ):
                return None
            raise
        self.how = "forward"
        return channel

    async def _bridged(self, master: Master, turn: Turn | None, begun: SshStream | None = None) -> Channel:
        """A channel over a bridge. With the turn, the master is made by it, and then what it can do is found out."""
        try:
            if begun is not None:
                master.write(Record(host=self.host))
            elif turn is not None and not await master.answers():
                # There is none, or it is stuck: whoever waits for something over it would wait for ever.
                await master.end()
                master.write(Record(host=self.host))
            bridge, greeting, rest = await self._start(master, begun, makes=turn is not None)
            channel = await bridge.join(greeting, rest)
            ended = asyncio.create_task(bridge.ended())
            self._bridges[ended] = bridge
            ended.add_done_callback(self._bridges.pop)
            await self._check_launcher(channel)
        except BaseException:
            if turn is not None:
                try:
                    if not master.alive():
                        master.clean()
                        turn.end()
                finally:
                    turn.give_back()
            raise
        self.how = "bridge"
        self.client = str(greeting.get("client") or "")
        if turn is not None:
            settling = asyncio.create_task(self._settle(master, turn, channel, str(greeting["socket"])))
            self._settling.add(settling)
            settling.add_done_callback(self._settling.discard)
        return channel

    async def _start(
        self, master: Master, begun: SshStream | None, *, makes: bool
    ) -> tuple[Bridge, dict[str, Any], bytes]:
        """Start a bridge, where none is begun, and hear it out; where ssh was turned away for the moment, again."""
        control, proxied = master.control, False
        for attempt in range(1, _TRIES + 1):
            if begun is not None:
                bridge, begun = Bridge(self.host, begun), None
            else:
                command = ssh_command.bridge(self.host, control, self._timeout_s, makes=makes, prompts=self._prompts)
                bridge = Bridge.start(self.host, command, prompts=self._prompts)
            try:
                greeting, rest = await bridge.greeting()
                self._check(greeting)
            except EndedSilently as ended:
                if attempt == _TRIES or not worth_another_try(ended.status, ended.said):
                    raise failure(self.host, ended.status, ended.said, prompts=self._prompts) from None
                # Where there is to be a master, ssh throws away what is said on the way: without one it is heard.
                control = master.control if proxied or not is_proxied(ended.said) else ssh_command.NO_CONTROL
                proxied = proxied or control == ssh_command.NO_CONTROL
            except BaseException:
                await bridge.kill(with_children=not master.alive())
                raise
            else:
                return bridge, greeting, rest
            limit_s = min(_BACKOFF_S * 2**attempt, _BACKOFF_MAX_S)
            await asyncio.sleep(random.uniform(limit_s / 4, limit_s))  # noqa: S311 - spreads clients, hides nothing
        raise AssertionError("unreachable")  # pragma: no cover - the last attempt returns or raises

    def _check(self, greeting: dict[str, Any]) -> None:
        version = greeting["relaunch"]
        if not compatible(version):
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

    async def _check_launcher(self, channel: Channel) -> None:
        """Make sure that the launcher is one that may be asked; one that is slow to say so is asked all the same."""
        try:
            async with asyncio.timeout(_VERSION_S):
                version = await channel.ask(_who())
        except (TimeoutError, RelaunchError):
            # What it refuses, it refuses again when it is asked for something.
            return
        try:
            check_launcher(self.host, version)
        except OtherVersion:
            channel.close()
            raise

    async def _settle(self, master: Master, turn: Turn, bridged: Channel, remote: str) -> None:
        """Find out what the master can do, put it down for everybody, and leave the bridge if it can do better."""
        unknown = ""
        try:
            pid = await master.pid()
            if pid is None:
                return
            unknown = path = await master.forward(remote) or ""
            tried = await self._through(path) if path else None
            if tried is None and path:
                await master.cancel(path, remote)
                path = ""
            if tried is None and bridged.closed:
                # It says nothing of forwards that nobody was at the far end of this one.
                return
            how: How = "forward" if tried else "bridge"
            found = Record(host=self.host, pid=pid, how=how, path=path, client=self.client, tried_at=time.time())
            master.write(found)
            unknown = ""
            if tried is not None:
                tried.close()
                bridged.retire()
            await master.cancel_others(path, remote)
        except (OSError, Unreachable):
            # Then it is found out the next time.
            return
        finally:
            if unknown:
                remove(unknown)
            turn.give_back()


def _who() -> Call:
    return Call("GetInfo", {}, "version", interface="org.varlink.service")
