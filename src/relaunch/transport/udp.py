"""A UDP socket under asyncio: datagrams come in batches, and answers leave from the address that was asked.

asyncio's own endpoint hands on one datagram in each turn of the loop, and lets the system choose the address that an
answer comes from, which on a host with several is not always the one that the peer has dialled. Refuses to know
any protocol.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable
from typing import Any, cast

Datagram = tuple[bytes, Any]

_DATAGRAM_BYTES_MAX = 65536
_BATCH_MAX = 64
_SOCKET_BUFFER_BYTES = 1024 * 1024
_AUXILIARY_BYTES_MAX = 256
# Told by the system about datagrams sent earlier; the socket itself is as well as before.
_OF_A_PEER = (errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EMSGSIZE)


class UdpPort:
    """A bound or connected socket, which it owns.

    The address of a peer is opaque, except that it begins with host and port: it also holds the address of ours that
    the datagram came to.

    Args:
        sock: Not blocking.
        received: Called with the datagrams of one turn of the loop.
        failed: Called when the system says that a peer cannot be reached, which a connected socket is told only.
    """

    def __init__(
        self, sock: socket.socket, received: Callable[[list[Datagram]], None], failed: Callable[[OSError], None]
    ) -> None:
        self._socket = sock
        self._received, self._failed = received, failed
        self._loop = asyncio.get_running_loop()
        self._closed = False
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER_BYTES)
        # A socket for both kinds tells of IPv4 in the terms of IPv6.
        if sock.family == socket.AF_INET6:
            self._level, self._kind = socket.IPPROTO_IPV6, socket.IPV6_PKTINFO
            sock.setsockopt(self._level, socket.IPV6_RECVPKTINFO, 1)
        else:
            self._level, self._kind = socket.IPPROTO_IP, _IP_PKTINFO
            sock.setsockopt(self._level, _IP_PKTINFO, 1)
        self._loop.add_reader(sock, self._readable)

    def send(self, data: bytes, peer: Any) -> None:
        """Send a datagram, or lose it as any network may."""
        if self._closed:
            return
        *where, local = peer
        auxiliary = [(self._level, self._kind, local)] if local else []
        try:
            self._socket.sendmsg([data], auxiliary, 0, tuple(where) if where else None)
        except BlockingIOError:
            pass
        except OSError as error:
            # Not at once: the caller is in the middle of something.
            self._loop.call_soon(self._fail, error)

    def close(self) -> None:
        """Close the socket."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def _readable(self) -> None:
        batch: list[Datagram] = []
        failure: OSError | None = None
        for _ in range(_BATCH_MAX):
            try:
                data, auxiliary, _, peer = self._socket.recvmsg(_DATAGRAM_BYTES_MAX, _AUXILIARY_BYTES_MAX)
            except BlockingIOError:
                break
            except OSError as error:
                failure = error
                if error.errno not in _OF_A_PEER:
                    break
                continue
            batch.append((data, (*peer, self._local(auxiliary))))
        if batch:
            self._received(batch)
        if failure is not None:
            self._fail(failure)

    def _fail(self, error: OSError) -> None:
        if not self._closed:
            self._failed(error)

    def _local(self, auxiliary: list[tuple[int, int, bytes]]) -> bytes:
        """What to send with an answer, so that it comes from the address that was asked."""
        for level, kind, data in auxiliary:
            if (level, kind) == (self._level, self._kind):
                # The interface is left to the routes: a peer may be reached through another one.
                return data[:16] + b"\0\0\0\0" if len(data) == 20 else b"\0\0\0\0" + data[8:12] + b"\0\0\0\0"
        return b""


# Not in the standard library before Python 3.14.
_IP_PKTINFO = cast("int", getattr(socket, "IP_PKTINFO", 8))
