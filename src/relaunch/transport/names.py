"""Looks hosts up, each name on a thread of its own: a name server that does not answer holds up nothing but that name.

The threads end with the process, whatever they wait for. Refuses to know what an address is for.
"""

import asyncio
import socket
import threading
from contextlib import suppress
from typing import Any

from relaunch.transport.address import Address

# Family and address, as the system wants them.
Target = tuple[socket.AddressFamily, Any]

LOOK_UPS_MAX = 128


async def look_up(address: Address, kind: socket.SocketKind) -> list[Target]:
    """All the addresses that a host has; one that is a number is not looked up.

    Raises:
        OSError: It has none, or too many others are being looked up.
    """
    try:
        return _ask(address, kind, socket.AI_NUMERICHOST)
    except socket.gaierror:
        return await _found(address, kind)


def _ask(address: Address, kind: socket.SocketKind, flags: int = 0) -> list[Target]:
    try:
        found = socket.getaddrinfo(address.host, address.port, type=kind, flags=flags)
    except UnicodeError:
        raise OSError("that is no name of a host") from None
    return [(family, target) for family, _, _, _, target in found]


Question = tuple[Address, socket.SocketKind]


class _LookUp:
    """One that is under way, and who waits for it."""

    def __init__(self) -> None:
        self.waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[list[Target]]]] = []


_lock = threading.Lock()
_under_way: dict[Question, _LookUp] = {}


async def _found(address: Address, kind: socket.SocketKind) -> list[Target]:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[list[Target]] = loop.create_future()
    question = address, kind
    with _lock:
        one = _under_way.get(question)
        if one is None:
            if len(_under_way) >= LOOK_UPS_MAX:
                raise OSError("too many other names are looked up, and have no answer yet")
            one = _LookUp()
            threading.Thread(target=_run, args=(question, one), name="look-up", daemon=True).start()
            _under_way[question] = one
        one.waiting.append((loop, future))
    try:
        return await future
    finally:
        with _lock, suppress(ValueError):
            one.waiting.remove((loop, future))


def _run(question: Question, one: _LookUp) -> None:
    found: list[Target] | OSError
    try:
        found = _ask(*question)
    except OSError as error:
        found = error
    with _lock:
        _under_way.pop(question, None)
        waiting = list(one.waiting)
    for loop, future in waiting:
        with suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(_settle, future, found)


def _settle(future: asyncio.Future[list[Target]], found: list[Target] | OSError) -> None:
    if future.done():
        return
    if isinstance(found, OSError):
        future.set_exception(found)
    else:
        future.set_result(found)
