"""The sockets of jobs, which the keeper holds: what it is ordered to do with them, and what it says of them.

Finds the addresses of names, as the keeper may not wait for that. Refuses to know when a job listens and is started.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from relaunch.errors import one_line
from relaunch.fields import Wire
from relaunch.keeper.wire import Message
from relaunch.launcher.keeper_link import KeeperLink
from relaunch.policy import SocketSpec

Sockets = Mapping[str, Iterable[SocketSpec]]
_FAMILIES = {None: socket.AF_UNSPEC, "ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}


class Listening:
    """What is listened on for jobs, by their ids. Lives on one event loop.

    Args:
        link: The keeper.
        held: What it listened on already when this launcher came, as its ``hello`` says.
        on_listening: Called with a job's id when its sockets are bound: it may be started now.
        on_called: Called with a job's id when a caller waits, once for each ``watch``.
        on_failed: Called with a job's id and a line on what could not be bound.
    """

    def __init__(
        self,
        link: KeeperLink,
        held: Iterable[str],
        *,
        on_listening: Callable[[str], None],
        on_called: Callable[[str], None],
        on_failed: Callable[[str, str], None],
    ) -> None:
        self._link = link
        self._held = set(held)
        self._on_listening = on_listening
        self._on_called = on_called
        self._on_failed = on_failed
        self._ordered = set[str]()
        self._looking: dict[str, asyncio.Task[None]] = {}
        self._watch_then = set[str]()

    def holds(self, job_id: str) -> bool:
        """Whether the keeper is known to listen for this job."""
        return job_id in self._held

    def listen(self, job_id: str, sockets: Sockets) -> None:
        """Have the keeper listen; ``on_listening`` or ``on_failed`` follows, also where it does so already."""
        if job_id in self._looking:
            return
        self._ordered.add(job_id)
        flat = [(name, spec) for name, specs in sockets.items() for spec in specs]
        if any(_at_once(spec) is None for _, spec in flat):
            self._looking[job_id] = asyncio.get_running_loop().create_task(self._look_up(job_id, flat))
        else:
            self._order(job_id, [_wire(name, spec, _at_once(spec) or []) for name, spec in flat])

    def watch(self, job_id: str) -> None:
        """Have ``on_called`` called when somebody calls, or at once where somebody waits; after ``listen``."""
        if job_id in self._looking:
            self._watch_then.add(job_id)
        else:
            self._ordered.add(job_id)
            self._link.order("watch", key=job_id)

    def close(self, job_id: str) -> None:
        """Have the keeper close a job's sockets; nothing is said of them any more."""
        task = self._looking.pop(job_id, None)
        if task is not None:
            task.cancel()
        self._watch_then.discard(job_id)
        self._ordered.discard(job_id)
        self._held.discard(job_id)
        self._link.order("close", key=job_id)

    def close_all_but(self, job_ids: Collection[str]) -> None:
        """Have it close what is listened on for others than these."""
        for job_id in self._held.difference(job_ids):
            self.close(job_id)

    def reported(self, report: Message) -> bool:
        """Take a report of the keeper's.

        Returns:
            Whether it was about sockets, and so nobody else's.
        """
        key = report.get("key", "")
        match report["event"]:
            case "listening":
                if key in self._ordered:
                    self._held.add(key)
                    self._on_listening(key)
            case "called":
                if key in self._held and key in self._ordered:
                    self._on_called(key)
            case "failed" if key in self._ordered:
                self._fail(key, f"socket {one_line(report['subject'])}: {os.strerror(report['errno'])}")
            case _:
                return False
        return True

    async def _look_up(self, job_id: str, flat: list[tuple[str, SocketSpec]]) -> None:
        sockets = []
        problem = None
        for name, spec in flat:
            try:
                sockets.append(_wire(name, spec, await _found(spec)))
            except (OSError, UnicodeError) as error:
                reason = (isinstance(error, OSError) and error.strerror) or "no name of a host"
                problem = f"socket {one_line(spec.host or '')}:{spec.port}: {reason}"
                break
        del self._looking[job_id]
        watched = job_id in self._watch_then
        self._watch_then.discard(job_id)
        if problem is not None:
            self._fail(job_id, problem)
            return
        self._order(job_id, sockets)
        if watched:
            self.watch(job_id)

    def _order(self, job_id: str, sockets: list[tuple[str, Wire]]) -> None:
        self._link.order("listen", key=job_id, sockets=sockets)

    def _fail(self, job_id: str, line: str) -> None:
        self._ordered.discard(job_id)
        self._held.discard(job_id)
        self._on_failed(job_id, line)


def _at_once(spec: SocketSpec) -> list[tuple[str, int]] | None:
    """The addresses that need no looking up; None where they do."""
    if spec.host is None:
        return []
    family = _FAMILIES[spec.family]
    try:
        return _pairs(socket.getaddrinfo(spec.host, None, family=family, flags=socket.AI_NUMERICHOST))
    except (OSError, UnicodeError):
        return None


async def _found(spec: SocketSpec) -> list[tuple[str, int]]:
    addresses = _at_once(spec)
    if addresses is None:
        family = _FAMILIES[spec.family]
        addresses = _pairs(await asyncio.get_running_loop().getaddrinfo(spec.host, None, family=family))
    return addresses


def _pairs(found: Iterable[tuple[Any, ...]]) -> list[tuple[str, int]]:
    """Each address once, with its scope."""
    addresses = [entry[-1] for entry in found]
    return list(dict.fromkeys((address[0], address[3] if len(address) > 3 else 0) for address in addresses))


def _wire(name: str, spec: SocketSpec, addresses: list[tuple[str, int]]) -> tuple[str, Wire]:
    return name, spec.to_wire() | ({"addresses": addresses} if spec.host else {})
