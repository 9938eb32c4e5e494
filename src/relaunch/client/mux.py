"""What can be said to an ssh that holds a connection, over its control socket: is it there, forward a socket, end.

Knows the protocol between OpenSSH's own processes, version 4 (PROTOCOL.mux in its sources). Spoken here, an order costs
no process; an ``ssh -O`` costs more than what it orders. Refuses to know what orders are for. A master that does not
answer, or not as it should, counts as one that did not do it.
"""

import asyncio
import socket
import struct
from contextlib import suppress

_VERSION = 4
_HELLO, _ALIVE_CHECK, _TERMINATE, _OPEN_FORWARD, _CLOSE_FORWARD = 1, 0x10000004, 0x10000005, 0x10000006, 0x10000007
_OK, _ALIVE = 0x80000001, 0x80000005
_LOCAL = 1
# In the place of a port: the name beside it is a socket's path.
_IS_PATH = 0xFFFFFFFE
_REQUEST = 1
_HUNG_UP: tuple[int, ...] = ()
_PACKET_BYTES_MAX = 256 * 1024
_NUMBER = struct.Struct(">I")
_AGAIN_S = 0.02


async def pid(control: str, timeout_s: float) -> int | None:
    """The process that holds the connection; None where nobody answers.

    Args:
        control: The control socket.
        timeout_s: How long an answer may take.
    """
    answer = await _order(control, timeout_s, _ALIVE_CHECK)
    return answer[2] if answer is not None and answer[:2] == (_ALIVE, _REQUEST) and len(answer) == 3 else None


async def forward(control: str, here: str, there: str, timeout_s: float) -> bool:
    """Have a socket here listened on, and each connection to it led to a socket there."""
    return await _is_done(control, timeout_s, _OPEN_FORWARD, _LOCAL, here, _IS_PATH, there, _IS_PATH)


async def cancel(control: str, here: str, there: str, timeout_s: float) -> bool:
    """Have that ended; connections that there are stay."""
    return await _is_done(control, timeout_s, _CLOSE_FORWARD, _LOCAL, here, _IS_PATH, there, _IS_PATH)


async def terminate(control: str, timeout_s: float) -> bool:
    """Have it end, with all connections over it."""
    # It may have gone before it has said that it will.
    return await _order(control, timeout_s, _TERMINATE) in ((_OK, _REQUEST), _HUNG_UP)


async def _is_done(control: str, timeout_s: float, kind: int, *fields: int | str) -> bool:
    return await _order(control, timeout_s, kind, *fields) == (_OK, _REQUEST)


async def _order(control: str, timeout_s: float, kind: int, *fields: int | str) -> tuple[int, ...] | None:
    """The numbers that the answer to an order begins with; None where there is no answer, none where it hung up."""
    with suppress(OSError, EOFError, ValueError, struct.error):
        async with asyncio.timeout(timeout_s):
            reader, writer = await _connected(control)
            try:
                writer.write(_packet(_HELLO, _VERSION) + _packet(kind, _REQUEST, *fields))
                if (await _receive(reader))[:2] != (_HELLO, _VERSION):
                    return None
                try:
                    return await _receive(reader)
                except (EOFError, ConnectionError):
                    return _HUNG_UP
            finally:
                writer.close()
    return None


async def _connected(control: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    made = socket.socket(socket.AF_UNIX)
    try:
        made.setblocking(False)
        while True:
            # Not asyncio's way, which takes a socket for connected that was turned away because many wait before it.
            with suppress(BlockingIOError):
                made.connect(control)
                return await asyncio.open_unix_connection(sock=made)
            await asyncio.sleep(_AGAIN_S)
    except BaseException:
        made.close()
        raise


async def _receive(reader: asyncio.StreamReader) -> tuple[int, ...]:
    (size,) = _NUMBER.unpack(await reader.readexactly(_NUMBER.size))
    if size > _PACKET_BYTES_MAX:
        raise ValueError(size)
    body = await reader.readexactly(size)
    return struct.unpack_from(f">{min(size // _NUMBER.size, 3)}I", body)


def _packet(*fields: int | str) -> bytes:
    body = b"".join(_field(field) for field in fields)
    return _NUMBER.pack(len(body)) + body


def _field(value: int | str) -> bytes:
    if isinstance(value, int):
        return _NUMBER.pack(value)
    text = value.encode("utf-8", "surrogateescape")
    return _NUMBER.pack(len(text)) + text
