"""Streams over QUIC: one connection carries one stream. The only home of ``aioquic``.

aioquic's connection is a state machine without a socket. ``connection`` tunes it, ``link`` drives one as a stream,
``dialer`` and ``listener`` give it a socket. Refuses to know what is said in a stream.
"""

from relaunch.transport.quic.dialer import dial
from relaunch.transport.quic.listener import listen

__all__ = ["dial", "listen"]
