"""The masters: ssh connections that stay in the background, at most one for each host, and what is known of each.

Knows the directory where their sockets are, how a socket is forwarded through one, how it is ended. A file beside a
master's control socket says what it is good for, so that the next process finds it ready. Refuses to know how a master
is made, what is asked over it, and how its files are cleared up (``leftovers``).
"""

import asyncio
import json
import os
import signal
import time
from contextlib import suppress
from typing import Literal, NamedTuple, Self

from relaunch.client import mux
from relaunch.client.forwards import control_socket, masters_directory, stem_made, trusted_masters_directory
from relaunch.client.leftovers import Turn, clean, clean_in_turn, remove, somebody_listens, take_turn
from relaunch.places import SOCKET_PATH_BYTES_MAX

How = Literal["forward", "bridge"]

_ORDER_S = 3.0
_ANSWER_S = 1.5
AGAIN_S = 30.0
_EXIT_S = 1.0
_LOOK_S = 0.01


class Record(NamedTuple):
    """What is known of a master.

    Attributes:
        host: As it was asked for.
        pid: Of the master's process; 0 as long as that is not known.
        how: What each connection is: through a forwarded socket, or a ``launch bridge``; None before that is known.
        path: The forwarded socket here; empty without one.
        client: This host's address, as that host sees it; empty where it is not known.
        tried_at: When it was last tried to forward the socket; wall time.
    """

    host: str
    pid: int = 0
    how: How | None = None
    path: str = ""
    client: str = ""
    tried_at: float = 0.0

    def may_do_better(self, now: float) -> bool:
        """Whether it is time to try again what did not work; what was in the way may be gone."""
        return self.how == "bridge" and not 0 <= now - self.tried_at < AGAIN_S


class OpenConnection(NamedTuple):
    """A host that ssh is connected to.

    Attributes:
        host: As it was asked for.
        pid: Of the ssh process that holds the connection; None where that is not known.
        age_s: How long it has been there.
        how: What each request uses; None before that is known.
    """

    host: str
    pid: int | None
    age_s: float
    how: How | None


class Master:
    """One host's master, as far as files tell; whether it is there or not.

    Args:
        host: As it was asked for.
        stem: What the paths of all its files begin with.
    """

    def __init__(self, host: str, stem: str) -> None:
        self.host = host
        self._stem = stem
        self.control = control_socket(stem)

    @classmethod
    def of(cls, host: str) -> Self:
        """A host's master, its directory made where it is missing.

        Args:
            host: Checked already.

        Raises:
            BadPlace: The directory cannot be made or must not be trusted, or its path is too long.
        """
        return cls(host, stem_made(host))

    def take_turn(self) -> Turn | None:
        """Be the one who may make it and end it; None while somebody else is.

        Raises:
            BadPlace: The file for that cannot be made.
        """
        return take_turn(self._stem)

    def read(self) -> Record | None:
        """What is known of it; None where nothing is."""
        try:
            with open(f"{self._stem}.json", encoding="utf-8") as file:
                return Record(**json.load(file))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, record: Record) -> None:
        """Put down what is known, all at once, by whoever has the turn. Where that cannot be, nothing is known."""
        path, unfinished = f"{self._stem}.json", f"{self._stem}.new"
        try:
            with open(unfinished, "w", encoding="utf-8") as file:
                file.write(json.dumps(record._asdict()))
            os.replace(unfinished, path)
        except OSError:
            remove(path)
            with suppress(OSError):
                remove(unfinished)

    def alive(self) -> bool:
        """Whether a process listens on its control socket. It may be stuck; that is what ``answers`` is for."""
        return somebody_listens(self.control)

    async def answers(self) -> bool:
        """Whether it is there and does what it is told."""
        # Asked twice: it may be this process that was late.
        return self.alive() and (await self.pid() or await self.pid()) is not None

    async def pid(self) -> int | None:
        """The master's process, by its own word."""
        return await mux.pid(self.control, _ANSWER_S)

    async def forward(self, remote: str) -> str | None:
        """Have the master listen here for connections to a socket there.

        Returns:
            The socket here. None where it cannot be had; that it leads anywhere is for the caller to find out.
        """
        path = f"{self._stem}.{os.urandom(4).hex()}.sock"
        if not os.path.isabs(remote) or len(os.fsencode(path)) > SOCKET_PATH_BYTES_MAX:
            return None
        return path if await mux.forward(self.control, path, remote, _ORDER_S) else None

    async def cancel(self, path: str, remote: str) -> None:
        """Take a forward back."""
        await mux.cancel(self.control, path, remote, _ORDER_S)
        remove(path)

    async def cancel_others(self, path: str, remote: str) -> None:
        """Take back every forward but one, as another process may have left that was killed."""
        directory, stem = os.path.split(self._stem)
        for name in os.listdir(directory):
            if name.startswith(stem) and name.endswith(".sock") and name != os.path.basename(path):
                await self.cancel(os.path.join(directory, name), remote)

    async def end(self) -> None:
        """End the master and all connections over it, by whoever has its turn, and remove its files but the turn's."""
        await self.stop()
        self.clean()

    async def stop(self) -> None:
        """End the master and all connections over it; its files may stay."""
        if self.alive() and not (await mux.terminate(self.control, _EXIT_S) and await self._ended()):
            self._kill()
            await self._ended()

    async def _ended(self) -> bool:
        give_up_at = time.monotonic() + _EXIT_S
        while self.alive():
            if time.monotonic() > give_up_at:
                return False
            await asyncio.sleep(_LOOK_S)
        return True

    def _kill(self) -> None:
        """Kill it; stuck as it is, only its title, ``ssh: CONTROL [mux]``, tells which process it is."""
        title = f"ssh: {self.control} ".encode()
        for entry in filter(str.isdecimal, os.listdir("/proc")):
            with suppress(OSError), open(f"/proc/{entry}/cmdline", "rb") as file:
                if file.read().startswith(title):
                    os.kill(int(entry), signal.SIGKILL)

    def clean(self) -> None:
        """Remove its files but the turn's, by whoever has that."""
        clean(self._stem)

    def clean_in_turn(self) -> None:
        """Remove all that is left of it, unless it is there or somebody is about to make it anew."""
        clean_in_turn(self._stem)


def connections() -> list[OpenConnection]:
    """Every host that ssh is connected to for this user, on behalf of relaunch. What is left of others is removed."""
    found = []
    for master in _masters():
        if not master.alive():
            master.clean_in_turn()
            continue
        record = master.read() or Record(host=master.host)
        age_s = max(0.0, time.time() - _made_at(master.control))
        found.append(OpenConnection(host=master.host, pid=record.pid or None, age_s=age_s, how=record.how))
    return sorted(found, key=lambda one: one.host)


async def close_all() -> list[str]:
    """End every master, and remove everything that is left of any.

    Returns:
        The hosts that were connected.
    """
    masters = _masters()
    connected = sorted(master.host for master in masters if master.alive())
    await asyncio.gather(*map(_close, masters))
    return connected


async def _close(master: Master) -> None:
    turn = master.take_turn()
    if turn is None:
        # Somebody is about to use it, and removes what is of no more use.
        await master.stop()
        return
    try:
        await master.end()
        turn.end()
    finally:
        turn.give_back()


def _masters() -> list[Master]:
    if not os.path.isdir(masters_directory()):
        return []
    directory = trusted_masters_directory()
    stems = {os.path.join(directory, name.partition(".")[0]) for name in os.listdir(directory)}
    found = []
    for stem in sorted(stems):
        record = Master("", stem).read()
        found.append(Master(record.host if record else "", stem))
    return found


def _made_at(path: str) -> float:
    try:
        return os.stat(path).st_ctime
    except OSError:
        return time.time()
