"""Whether one host can connect to a port of another: somebody who listens there, and somebody who tries.

Over TCP a connection is enough. Over UDP something must come back, so that only this listener can tell. Refuses to know
what uses the port otherwise.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from contextlib import suppress

from relaunch.client.finding import Finding, fail, ok, warn
from relaunch.errors import ListenFailed
from relaunch.transport.address import Address, parse_address
from relaunch.transport.sockets import bind, why

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

MARK = b"launch doctor\n"
LIMIT_S = 3.0
_AGAIN_S = 0.4
KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
REFUSED = why(ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED)))
NOBODY = "nobody listens there now; start who is to, or name an address of the host where you type this"
FIREWALL = "let it through every firewall between here and there, or subscribe without --serve: that goes over ssh"


class Answering:
    """Answers on a port over TCP and UDP, while entered, where nobody else uses it already.

    Args:
        address: Where.

    Attributes:
        kinds: Those over which somebody answers: this, or over TCP whoever was there before.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._server: asyncio.Server | None = None
        self._echo: asyncio.DatagramTransport | None = None
        self.kinds: list[str] = ["tcp"]

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        with suppress(ListenFailed):
            self._server = await asyncio.start_server(_greet, sock=await bind(self._address, socket.SOCK_STREAM))
        with suppress(ListenFailed):
            udp = await bind(self._address, socket.SOCK_DGRAM)
            self._echo, _ = await loop.create_datagram_endpoint(_Echo, sock=udp)
            self.kinds.append("udp")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        if self._echo is not None:
            self._echo.close()


async def _greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(MARK)
    with suppress(OSError):
        await writer.drain()
    writer.close()


class _Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]  # it is this kind
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if data == MARK:
            self._transport.sendto(data, addr)


def reach(text: str, client: str, kinds: list[str]) -> Finding:
    """Try to reach an address from here.

    Args:
        text: As typed there.
        client: The address that stands for a host which is not named.
        kinds: ``tcp``, ``udp``; what else there is could not be told from here.
    """
    address = parse_address(text)
    address = Address(address.host or client or "localhost", address.port)
    problems = [f"{kind}: {problem}" for kind in KINDS if kind in kinds and (problem := _try(kind, address))]
    if problems:
        # Where this answers, it does so over UDP too, and nothing but a firewall can refuse.
        advice = NOBODY if kinds == ["tcp"] and problems == [f"tcp: {REFUSED}"] else FIREWALL
        return fail("port", f"{address} cannot be reached ({'; '.join(problems)})", advice, address=str(address))
    if "udp" not in kinds:
        advice = "end whoever uses it meanwhile, to have it tried"
        return warn("port", f"{address} can be reached over tcp; udp is in use and was not tried", advice)
    return ok("port", f"{address} can be reached", address=str(address))


def _try(kind: str, address: Address) -> str:
    """What went wrong; nothing where it can be reached."""
    try:
        found = socket.getaddrinfo(address.host, address.port, type=KINDS[kind])
    except (OSError, UnicodeError) as error:
        return str(getattr(error, "strerror", None) or error)
    family, _, _, _, target = found[0]
    try:
        with socket.socket(family, KINDS[kind]) as sock:
            sock.settimeout(LIMIT_S)
            sock.connect(target)
            return "" if kind == "tcp" else _echoed(sock)
    except TimeoutError:
        return "no answer"
    except OSError as error:
        return why(error)


def _echoed(sock: socket.socket) -> str:
    give_up_at = time.monotonic() + LIMIT_S
    sock.settimeout(_AGAIN_S)
    while time.monotonic() < give_up_at:
        sock.send(MARK)
        with suppress(TimeoutError):
            if sock.recv(len(MARK)) == MARK:
                return ""
    return "no answer"
