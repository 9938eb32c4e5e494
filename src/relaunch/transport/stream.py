"""What a transport gives and what it wants: a stream of bytes, its user's end of it, a listener.

Every transport keeps these promises, and ``tests/system/test_transport.py`` holds all of them to it.
Refuses to know how any of them does.
"""

from collections.abc import Mapping
from typing import Literal, Protocol

from relaunch.transport.address import Address

Kind = Literal["quic", "tcp"]

# Application protocol: two programs that both speak TLS are not yet two that understand each other.
PROTOCOL = "relaunch/1"

HANDSHAKES_MAX = 256
HANDSHAKE_S = 5.0
# After `close`: how long the other side may take nothing of what was sent before, or not hang up as well; and how often
# it is given that time, while it does take some.
CLOSE_S = 2.0
CLOSE_ROUNDS_MAX = 5
# How long all streams of a listener together may take to end.
CLOSED_S = 1.0
# What one stream keeps for a peer that does not read. Who sends has a smaller limit; this is the last line.
UNSENT_BYTES_MAX = 64 * 1024 * 1024

# Why a connection was dropped before it was accepted: the keys of `Listener.refused`.
BROKEN = "broken handshake"
SLOW = "slow handshake"
CROWDED = "too many handshakes"
STARVED = "out of descriptors"
GARBAGE = "garbage"


class End(Protocol):
    """The user's end of a stream. None of this is called from inside a call to the stream."""

    def received(self, data: bytes) -> None:
        """The next bytes, in order."""

    def ended(self, why: str) -> None:
        """The stream has ended, and not by our ``close``; comes once, and last. ``why`` is for people."""


class Stream(Protocol):
    """A stream to one peer, from when it is made until ``ended`` or ``close``."""

    @property
    def peer(self) -> str:
        """Address of the other side, for messages to people."""

    def send(self, data: bytes) -> None:
        """Send, or keep until it can be sent. Never waits, never raises; after the end it does nothing."""

    def close(self) -> None:
        """Hang up. What was sent before still goes out if it can, within a bounded time; nothing more is received."""

    def pause(self) -> None:
        """Receive nothing more, so that the sender comes to a stop. An end may go unnoticed until ``resume``.

        What may still come is held: 256 KiB over TCP, beside what the system holds, and 1 MiB over QUIC.
        """

    def resume(self) -> None:
        """Receive again."""


class Listener(Protocol):
    """Accepts streams until ``close``."""

    @property
    def address(self) -> Address:
        """Where it listens; the port is the real one."""

    @property
    def refused(self) -> Mapping[str, int]:
        """How many connections were dropped before they were accepted, by reason."""

    def close(self) -> None:
        """End listening, and every stream as its ``close`` would. Over QUIC they share the port until then."""

    async def closed(self) -> None:
        """After ``close``, return when no stream and no socket is left; streams that take too long are cut short."""
