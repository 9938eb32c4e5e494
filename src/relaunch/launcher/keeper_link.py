"""The launcher's end of the socket to its keeper.

Knows how orders and reports travel. Refuses to know why an order is given.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from relaunch.keeper import wire


class KeeperLink(asyncio.Protocol):
    """Orders out, batches of reports in. Owned by the launcher's main; one for its whole life.

    Args:
        on_reports: Gets each batch of reports as they were read, ``hello`` first of all.
        on_lost: Called when the keeper has gone.
    """

    def __init__(self, on_reports: Callable[[list[wire.Message]], None], on_lost: Callable[[], None]) -> None:
        self._on_reports = on_reports
        self._on_lost = on_lost
        self._decoder = wire.Decoder()
        self._transport: Any = None
        self._orders: list[bytes] = []

    async def open(self, fd: int) -> None:
        """Take over the connected socket."""
        connected = socket.socket(fileno=fd)
        connected.setblocking(False)
        await asyncio.get_running_loop().create_connection(lambda: self, sock=connected)

    def order(self, op: str, **fields: Any) -> None:
        """Give an order; it leaves at the end of this turn of the loop, or with ``flush``."""
        if not self._orders:
            asyncio.get_running_loop().call_soon(self.flush)
        self._orders.append(wire.encode({"op": op, **fields}))

    def flush(self) -> None:
        """Send what has been ordered."""
        orders, self._orders = self._orders, []
        if orders:
            self._transport.write(b"".join(orders))

    def close(self) -> None:
        """Send what is left and hang up."""
        self._on_lost = lambda: None
        self.flush()
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._on_reports(self._decoder.feed(data))

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._on_lost()
