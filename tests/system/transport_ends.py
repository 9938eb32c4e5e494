"""Both ends of a stream, for the tests of transports: they write down what they hear, and any complaint of the loop."""

import asyncio
import gc
import random
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from relaunch.transport.address import Address
from relaunch.transport.certificate import Credentials, make_credentials
from relaunch.transport.dial import dial
from relaunch.transport.listen import listen
from relaunch.transport.stream import CLOSE_S, Kind, Listener, Stream

PATIENCE_S = 20.0
CREDENTIALS = make_credentials()


class Ear:
    """An end that writes down what it hears."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.heard = bytearray()
        self.ends: list[str] = []
        self._news = asyncio.Event()

    def received(self, data: bytes) -> None:
        assert data
        assert not self.ends
        self.heard += data
        self._news.set()

    def ended(self, why: str) -> None:
        self.ends.append(why)
        self._news.set()

    async def until(self, true: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not true():
                self._news.clear()
                await self._news.wait()

    async def hear(self, bytes_count: int) -> bytes:
        await self.until(lambda: len(self.heard) >= bytes_count)
        return bytes(self.heard)

    async def end(self) -> str:
        await self.until(lambda: self.ends)
        (why,) = self.ends
        return why


class Echo(Ear):
    """Says what it hears."""

    def received(self, data: bytes) -> None:
        super().received(data)
        self.stream.send(data)


class Served:
    """A listener, and the ends of the streams that it has accepted."""

    def __init__(self, kind: Kind, make_end: Callable[[Stream], Ear]) -> None:
        self.kind = kind
        self.ends: list[Ear] = []
        self.listener: Listener
        self.credentials: Credentials = CREDENTIALS
        self._make_end = make_end

    def accepted(self, stream: Stream) -> Ear:
        self.ends.append(self._make_end(stream))
        return self.ends[-1]

    @property
    def port(self) -> int:
        return self.listener.address.port

    async def dial(self, host: str = "127.0.0.1", *, port: int | None = None, fingerprint: str | None = None) -> Ear:
        ears: list[Ear] = []

        def make_end(stream: Stream) -> Ear:
            ears.append(Ear(stream))
            return ears[-1]

        address = Address(host, port or self.port)
        stream = await dial(self.kind, address, fingerprint or CREDENTIALS.fingerprint, make_end)
        (ear,) = ears
        assert ear.stream is stream
        return ear

    async def pair(self) -> tuple[Ear, Ear]:
        """A new stream: the end that dialled, and the end that accepted."""
        count = len(self.ends)
        ear = await self.dial()
        await wait_until(lambda: len(self.ends) > count)
        return ear, self.ends[-1]


async def wait_until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not true():  # noqa: ASYNC110 - the truth is outside of this loop
            await asyncio.sleep(0.005)


@asynccontextmanager
async def serving(kind: Kind, make_end: Callable[[Stream], Ear] = Ear, host: str = "") -> AsyncIterator[Served]:
    """Listens; in the end everything is closed, in time."""
    served = Served(kind, make_end)
    served.listener = await listen(kind, Address(host, 0), CREDENTIALS, served.accepted)
    try:
        yield served
    finally:
        served.listener.close()


def descriptors_watched() -> int:
    """How many sockets the loop still has; one is its own."""
    loop: Any = asyncio.get_running_loop()
    return len(loop._selector.get_map()) - 1


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run, and fail if the loop had to complain or if sockets stay behind for longer than a close may take."""
    complaints: list[dict[str, Any]] = []

    async def whole() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        await story()
        async with asyncio.timeout(2 * CLOSE_S + 3):
            await wait_until(lambda: not descriptors_watched())

    asyncio.run(whole())
    gc.collect()
    assert not complaints, complaints


class Lossy(asyncio.DatagramProtocol):
    """A UDP relay in front of a port, which loses some of the datagrams, either way; one client."""

    def __init__(self, port: int, loss: float, seed: int) -> None:
        self._server = ("127.0.0.1", port)
        self._loss = loss
        self._dice = random.Random(seed)
        self._client: Any = None
        self._transport: Any = None
        self.lost = 0

    @classmethod
    @asynccontextmanager
    async def before(cls, port: int, loss: float, seed: int) -> AsyncIterator["Lossy"]:
        loop = asyncio.get_running_loop()
        transport, relay = await loop.create_datagram_endpoint(
            lambda: cls(port, loss, seed), local_addr=("127.0.0.1", 0), family=socket.AF_INET
        )
        try:
            yield relay
        finally:
            transport.close()

    @property
    def port(self) -> int:
        return int(self._transport.get_extra_info("sockname")[1])

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if addr != self._server:
            self._client = addr
        if self._dice.random() < self._loss:
            self.lost += 1
            return
        self._transport.sendto(data, self._client if addr == self._server else self._server)
