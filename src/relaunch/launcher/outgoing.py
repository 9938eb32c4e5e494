"""One connection out to a subscriber: dialled, proved, then written to; what it answers is checked and passed on.

A subscriber only ever answers, so little is taken from it: small messages, and not many more than it was sent. Whatever
else it says ends the connection. Refuses to know when to dial and what to send.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from relaunch import __version__
from relaunch.core.delivery import Cursor
from relaunch.core.delivery_wire import proof, read_cursor
from relaunch.core.varlink import Decoder, Message
from relaunch.errors import DialFailed, ProtocolBroken, RelaunchError, one_line
from relaunch.launcher import telling
from relaunch.subscription import SubscriptionSpec
from relaunch.transport.address import parse_address
from relaunch.transport.dial import dial
from relaunch.transport.stream import End, Kind, Stream

ANSWER_BYTES_MAX = 64 * 1024
# How many answers are taken beyond two for each message sent.
ANSWERS_SPARE = 256
# Less than the core gives it, so that what is told of a failure is what failed.
DIAL_S = 4.5
_NONCE = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """Who calls: the same for all subscribers of one run of a launcher."""

    source: str
    boot_id: str
    run: int


class Hearer(Protocol):
    """Who is told what comes of a connection; ``dial`` is the number it was given."""

    def welcomed(self, dial: int, cursor: Cursor | None) -> None:
        """The subscriber has taken the proof, and says after what the stream goes on."""

    def acked_by(self, dial: int, at: Cursor | None) -> None:
        """The subscriber says how far its application has come."""

    def disconnected(self, dial: int, why: str) -> None:
        """There is no connection, and there will be none. Comes once, and not after ``close``."""


class Outgoing:
    """One attempt, and the connection that comes of it.

    Args:
        spec: Where to, and what to prove.
        speaker: Who calls.
        number: Told with everything that is heard.
        hearer: Told of it.
        turn: Waited for before anything is done.

    Attributes:
        begun: Whether its turn has come.
    """

    def __init__(
        self,
        spec: SubscriptionSpec,
        speaker: Speaker,
        number: int,
        hearer: Hearer,
        turn: Callable[[], Awaitable[None]],
    ) -> None:
        self._spec = spec
        self._speaker = speaker
        self._number = number
        self._hearer = hearer
        self._turn = turn
        self.begun = False
        self._decoder = Decoder(ANSWER_BYTES_MAX)
        self._stream: Stream | None = None
        self._proved = False
        self._welcomed = False
        self._over = False
        self._answers_left = ANSWERS_SPARE
        self._task = asyncio.get_running_loop().create_task(self._dial())

    def send(self, message: bytes, answers: int) -> None:
        """Send a message that so many answers are due to, at most."""
        self._answers_left += 2 * answers
        if self._stream is not None and not self._over:
            self._stream.send(message)

    def close(self) -> None:
        """Hang up, or end the attempt; nothing more is heard."""
        self._over = True
        self._task.cancel()
        if self._stream is not None:
            self._stream.close()

    async def _dial(self) -> None:
        try:
            await self._turn()
            self.begun = True
            address = parse_address(self._spec.address)
            kind: Kind = "tcp" if self._spec.transport == "tcp" else "quic"
            await dial(kind, address, self._spec.fingerprint, self._begin, DIAL_S)
        except RelaunchError as error:
            self._end(error.message)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this connection's trouble only
            self._end(f"the launcher failed inside: {error!r}")

    def _begin(self, stream: Stream) -> End:
        self._stream = stream
        if self._over:
            stream.close()
        else:
            stream.send(telling.call("Open", {"subscription": self._spec.id}))
        return self

    def received(self, data: bytes) -> None:
        """What the subscriber answers; of acknowledgements that come together the last one counts."""
        if self._over:
            return
        acks: list[Cursor | None] = []
        try:
            for message in self._decoder.feed(data):
                self._take(message, acks)
        except ProtocolBroken as error:
            self._end(f"what {self._spec.address} answers is not the protocol: {one_line(error.message)}")
            return
        except DialFailed as error:
            self._end(error.message)
            return
        if acks and not self._over:
            self._hearer.acked_by(self._number, acks[-1])

    def ended(self, why: str) -> None:
        """The stream has ended."""
        self._end(f"{self._spec.address} hung up: {one_line(why)}" if why else f"{self._spec.address} hung up")

    def _take(self, message: Message, acks: list[Cursor | None]) -> None:
        self._answers_left -= 1
        if self._answers_left < 0:
            raise ProtocolBroken("it answers more often than it was asked")
        parameters = message.get("parameters") or {}
        if not isinstance(parameters, dict):
            raise ProtocolBroken("an answer's parameters must be an object")
        if "error" in message:
            raise DialFailed(f"{self._spec.address} refused: {_refusal(message['error'], parameters)}")
        if not self._proved:
            self._prove(parameters.get("nonce"))
            return
        if message.get("continues") is not True:
            raise ProtocolBroken("it says that it will answer no more")
        cursor = parameters.get("cursor")
        at = None if cursor is None else read_cursor(cursor)
        if self._welcomed:
            acks.append(at)
        else:
            self._welcomed = True
            self._hearer.welcomed(self._number, at)

    def _prove(self, nonce: object) -> None:
        if not isinstance(nonce, str) or not _NONCE.fullmatch(nonce):
            raise ProtocolBroken("a nonce must be 64 hexadecimal digits")
        spec, speaker = self._spec, self._speaker
        proved = proof(
            spec.secret, nonce=nonce, subscription=spec.id, source=speaker.source, fingerprint=spec.fingerprint
        )
        self._proved = True
        wire = {
            "proof": proved,
            "source": speaker.source,
            "boot_id": speaker.boot_id,
            "run": speaker.run,
            "version": __version__,
        }
        if self._stream is not None:
            self._stream.send(telling.call("Attach", wire, more=True))

    def _end(self, why: str) -> None:
        if not self._over:
            self._over = True
            if self._stream is not None:
                self._stream.close()
            self._hearer.disconnected(self._number, why)


def _refusal(name: object, parameters: Message) -> str:
    message = parameters.get("message")
    told = f"{name}: {message}" if isinstance(message, str) else f"{name}"
    return one_line(told[:300])
