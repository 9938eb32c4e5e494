"""Varlink's framing, sans-IO: bytes in, messages out.

Messages are JSON objects, each ended by one NUL byte (https://varlink.org/Wire-Protocol). Knows the bound on a
message's size. Refuses to know what a message says, who sent it, and how bytes travel.
"""

import json
from typing import Any

from relaunch.errors import ProtocolBroken

MESSAGE_BYTES_MAX = 4 * 1024 * 1024
# What a client takes from its own launcher: ten thousand jobs in one list.
ANSWER_BYTES_MAX = 64 * 1024 * 1024
json_text = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True).encode
"""A value as JSON, in as few characters as can be, all of them ASCII."""

Message = dict[str, Any]


def encode(message: Message) -> bytes:
    """One message as it goes on the wire, its NUL included."""
    return json_text(message).encode("ascii") + b"\0"


class Decoder:
    """Cuts a stream of bytes into messages. One per connection; after it has raised, the connection is of no more use.

    Args:
        message_bytes_max: The largest message taken; a longer one is refused as soon as that many bytes have come.
    """

    def __init__(self, message_bytes_max: int = MESSAGE_BYTES_MAX) -> None:
        self._max = message_bytes_max
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def pending_bytes(self) -> int:
        """How much of an unfinished message has come."""
        return self._size

    def feed(self, data: bytes) -> list[Message]:
        """The messages that these bytes complete, in order.

        Raises:
            ProtocolBroken: A message over the bound, or one that is not a JSON object.
        """
        *ends, rest = data.split(b"\0")
        messages = []
        for end in ends:
            self._check(self._size + len(end))
            raw = b"".join((*self._parts, end)) if self._parts else end
            self._parts, self._size = [], 0
            messages.append(_decode(raw))
        if rest:
            self._size += len(rest)
            self._check(self._size)
            self._parts.append(rest)
        return messages

    def _check(self, size: int) -> None:
        if size > self._max:
            raise ProtocolBroken(f"a message is over the bound of {self._max} bytes")


def _decode(raw: bytes) -> Message:
    try:
        message = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ProtocolBroken(f"a message is not JSON: {error}") from None
    if not isinstance(message, dict):
        raise ProtocolBroken(f"a message must be a JSON object, not {type(message).__name__}")
    return message
