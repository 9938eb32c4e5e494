"""The port: launchers call in, prove that they have a subscription's secret, and then speak for that subscription.

Rules, each a clause of docs/protocol.md:
    1. Before the proof nobody costs much: few at once, briefly, with small messages (D21).
    2. The proof is good for one connection, one source and this subscriber's certificate (D22).
    3. Whoever sends what the interface does not allow is hung up on, and counted (D23).

Refuses to know what the items say, and what is done with them: a ``Party`` does.
"""

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from relaunch.core.delivery import Bookmark, Cursor
from relaunch.core.delivery_wire import (
    INTERFACE,
    Told,
    is_proof,
    proof,
    read_bookmark,
    read_items,
    read_sequence,
    write_cursor,
)
from relaunch.core.liveness import Run
from relaunch.core.varlink import ANSWER_BYTES_MAX, Decoder, Message, encode
from relaunch.errors import ProtocolBroken, one_line
from relaunch.transport.address import Address
from relaunch.transport.certificate import Credentials
from relaunch.transport.listen import listen
from relaunch.transport.stream import Kind, Stream
from relaunch.transport.stream import Listener as Port

UNPROVED_MAX = 256
PROVE_S = 5.0
UNPROVED_BYTES_MAX = 4 * 1024
# A snapshot holds what a list of all jobs holds, and that may be so much. Only who has proved itself may send it.
PROVED_BYTES_MAX = ANSWER_BYTES_MAX
_TEXT_CHARACTERS_MAX = 1_000
# Why somebody was hung up on: keys of `refused`, beside those of the transport and of `core.receiving`.
MALFORMED = "malformed message"
NOT_SUBSCRIBED = "not subscribed"
SLOW = "no proof in time"
CROWDED = "too many without a proof"
# Stands for the secret of a subscription that is not there, so that it takes no less time to be refused.
_NOBODY = secrets.token_hex(32)
log = logging.getLogger("relaunch")


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a launcher says of itself.

    Attributes:
        source: Whose events it sends.
        run: Which run of it this is.
        version: Of its program.
    """

    source: str
    run: Run
    version: str


class Party(Protocol):
    """The subscriber's part of one subscription. Whoever is passed to it has proved to have the secret."""

    @property
    def secret(self) -> str:
        """What is to be proved."""

    @property
    def source(self) -> str | None:
        """Whose events these are, None where that is not known yet."""

    def attach(self, caller: "Caller", greeting: Greeting) -> None:
        """Somebody is there; ``caller.welcome`` or ``caller.hang_up`` is the answer, now or later."""

    def heard(self, caller: "Caller") -> None:
        """Something has come, before it is looked at."""

    def deliver(self, caller: "Caller", told: Told) -> None:
        """An item has come."""

    def beat(self, caller: "Caller", bookmark: Bookmark | None) -> None:
        """A heartbeat has come."""

    def farewell(self, caller: "Caller") -> None:
        """That run of the launcher ends now."""

    def took(self, size_bytes: int) -> None:
        """So many bytes have been taken from the caller."""

    def left(self, caller: "Caller") -> None:
        """The connection has ended; comes once after ``attach``."""


class Listener:
    """Takes calls from ``listen`` until ``close``.

    Args:
        credentials: What callers know this subscriber by.
        find: The party of a subscription's id.
    """

    def __init__(self, credentials: Credentials, find: Callable[[str], Party | None]) -> None:
        self.fingerprint = credentials.fingerprint
        self.find = find
        self.callers: set[Caller] = set()
        self.unproved: dict[Caller, None] = {}
        self.counts: Counter[str] = Counter()
        self.warned: set[str] = set()
        self._credentials = credentials
        self._port: Port | None = None
        self._closed = False

    async def listen(self, kind: Kind, address: Address) -> None:
        """Begin.

        Raises:
            ListenFailed: The address cannot be listened on.
        """
        self._port = await listen(kind, address, self._credentials, self.accept)

    @property
    def address(self) -> Address:
        """Where it listens; the port is the real one."""
        return self._port.address if self._port else Address("", 0)

    @property
    def refused(self) -> Mapping[str, int]:
        """How many were turned away or hung up on, by reason."""
        return self.counts + Counter(dict(self._port.refused) if self._port else {})

    def accept(self, stream: Stream) -> "Caller":
        """Somebody is there; who has waited longest without a proof makes room."""
        if len(self.unproved) >= UNPROVED_MAX:
            next(iter(self.unproved)).hang_up(CROWDED)
        caller = Caller(self, stream)
        self.callers.add(caller)
        self.unproved[caller] = None
        if self._closed:
            caller.close()
        return caller

    def close(self) -> None:
        """End listening, and every connection."""
        self._closed = True
        for caller in list(self.callers):
            caller.close()
        if self._port is not None:
            self._port.close()

    async def closed(self) -> None:
        """Return when nothing of it is left; after ``close``, and within the time that a stream has for its end."""
        if self._port is not None:
            await self._port.closed()


class Caller:
    """Our end of one connection."""

    def __init__(self, listener: Listener, stream: Stream) -> None:
        self.greeting = Greeting("", Run("", 0), "")
        self.link = 0
        self._listener = listener
        self._stream = stream
        self._decoder = Decoder(UNPROVED_BYTES_MAX)
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(PROVE_S, self.hang_up, SLOW)
        self._subscription: str | None = None
        self._nonce: str | None = None
        self._party: Party | None = None
        self._welcomed = False
        self._closed = False
        self._ack: Cursor | None = None
        self._ack_due = False

    @property
    def run(self) -> Run:
        """Which run of its launcher it is."""
        return self.greeting.run

    # What the party tells it

    def welcome(self, cursor: Cursor | None) -> None:
        """Take the connection, and say after what the stream shall go on."""
        self._timer.cancel()
        self._welcomed = True
        self._answer(cursor)

    def ack(self, cursor: Cursor | None) -> None:
        """Acknowledge. What comes in one turn of the loop is acknowledged together."""
        self._ack = cursor
        if not self._ack_due:
            self._ack_due = True
            self._loop.call_soon(self._send_ack)

    def hang_up(self, why: str) -> None:
        """End the connection, and count the reason, one of few; the first launcher to give it is named in the log."""
        if not self._closed:
            self._listener.counts[why] += 1
            if self._party is not None and why not in self._listener.warned:
                self._listener.warned.add(why)
                log.warning("hung up on %s at %s: %s", one_line(self.greeting.source), self._stream.peer, why)
            self.close()

    def close(self) -> None:
        """End the connection; what was answered still goes out."""
        if not self._closed:
            self._send_ack()
            self._stream.close()
            self._over()

    def pause(self) -> None:
        """Read nothing more."""
        self._stream.pause()

    def resume(self) -> None:
        """Read again."""
        self._stream.resume()

    # What the stream tells it

    def received(self, data: bytes) -> None:
        """See ``transport.stream.End``."""
        if self._closed:
            return
        try:
            if self._party is None:
                self._introduce(data)
            elif self._welcomed:
                self._converse(self._party, data)
            else:
                raise ProtocolBroken("it speaks before it is welcomed")
        except ProtocolBroken:
            self.hang_up(MALFORMED)

    def ended(self, why: str) -> None:
        """See ``transport.stream.End``."""
        self._over()

    def _over(self) -> None:
        if not self._closed:
            self._closed = True
            self._timer.cancel()
            self._listener.callers.discard(self)
            self._listener.unproved.pop(self, None)
            if self._party is not None:
                self._party.left(self)

    def _send_ack(self) -> None:
        if self._ack_due:
            self._ack_due = False
            if not self._closed:
                self._answer(self._ack)

    def _answer(self, cursor: Cursor | None) -> None:
        self._stream.send(encode({"parameters": {"cursor": write_cursor(cursor)}, "continues": True}))

    # Before the proof

    def _introduce(self, data: bytes) -> None:
        messages = self._decoder.feed(data)
        for message in messages:
            if self._party is not None or self._closed:
                raise ProtocolBroken("it speaks before it is welcomed")
            method, parameters = _call(message)
            if method == "Open" and self._subscription is None and not message.get("oneway"):
                self._subscription = _text(parameters, "subscription")
                self._nonce = secrets.token_hex(32)
                self._stream.send(encode({"parameters": {"nonce": self._nonce}}))
            elif method == "Attach" and self._nonce is not None and message.get("more") is True:
                self._attach(parameters)
            else:
                raise ProtocolBroken("it is not the time for that")
        if self._party is not None:
            if self._decoder.pending_bytes:
                raise ProtocolBroken("it speaks before it is welcomed")
            self._decoder = Decoder(PROVED_BYTES_MAX)

    def _attach(self, parameters: Message) -> None:
        said = _text(parameters, "proof")
        run = Run(_text(parameters, "boot_id"), read_sequence(parameters.get("run")))
        greeting = Greeting(_text(parameters, "source"), run, _text(parameters, "version"))
        subscription, nonce = self._subscription or "", self._nonce or ""
        self._nonce = None
        party = self._listener.find(subscription)
        expected = proof(
            party.secret if party else _NOBODY,
            nonce=nonce,
            subscription=subscription,
            source=greeting.source,
            fingerprint=self._listener.fingerprint,
        )
        proved = is_proof(said, expected)
        if party is None or not proved or party.source not in (None, greeting.source):
            error = {"message": "nobody is subscribed under this id, with this secret, from this source"}
            self._stream.send(encode({"error": f"{INTERFACE}.NotSubscribed", "parameters": error}))
            self.hang_up(NOT_SUBSCRIBED)
            return
        del self._listener.unproved[self]
        self._party, self.greeting = party, greeting
        party.attach(self, greeting)

    # After it

    def _converse(self, party: Party, data: bytes) -> None:
        party.heard(self)
        size_bytes = self._decoder.pending_bytes + len(data)
        for message in self._decoder.feed(data):
            self._dispatch(party, message)
            if self._closed:
                return
        party.took(size_bytes - self._decoder.pending_bytes)

    def _dispatch(self, party: Party, message: Message) -> None:
        method, parameters = _call(message)
        if message.get("oneway") is not True:
            raise ProtocolBroken("nothing is answered any more")
        match method:
            case "Deliver":
                for told in read_items(parameters.get("items")):
                    party.deliver(self, told)
                    if self._closed:
                        return
            case "Beat":
                read_sequence(parameters.get("sequence"))
                party.beat(self, read_bookmark(parameters.get("bookmark")))
            case "Farewell":
                party.farewell(self)
            case _:
                raise ProtocolBroken("there is no such method")


def _call(message: Message) -> tuple[str, Message]:
    """A call's method, without the interface, and its parameters."""
    method, parameters = message.get("method"), message.get("parameters")
    if not isinstance(method, str) or not isinstance(parameters, dict | None):
        raise ProtocolBroken("a call needs a method, and may have parameters")
    interface, _, name = method.rpartition(".")
    if interface != INTERFACE:
        raise ProtocolBroken("only one interface is served")
    return name, parameters or {}


def _text(parameters: Message, name: str) -> str:
    value = parameters.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _TEXT_CHARACTERS_MAX:
        raise ProtocolBroken(f"{name} must be a text")
    return value
