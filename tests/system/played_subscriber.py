"""A subscriber's side, played by a test: listens with a real transport, says anything, sees what the launcher says.

Knows the messages as they travel, and the proof of the secret. Refuses to know what a subscriber ought to make of them.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.system.launcher_host import Host
from tests.system.peer import call

from relaunch.core.delivery_wire import proof
from relaunch.transport.address import parse_address
from relaunch.transport.certificate import Credentials, make_credentials
from relaunch.transport.listen import listen
from relaunch.transport.stream import Kind, Listener, Stream

Message = dict[str, Any]
DEADLINE_S = 20.0
CREDENTIALS = make_credentials()


class Caller:
    """One connection that a launcher has made, with everything it said.

    Attributes:
        attach: The parameters of ``Attach``, None before it came.
        items: Every item delivered, in order.
        beats: How many heartbeats came.
        farewell: Whether the launcher has said that it ends.
        over: Whether it has hung up.
    """

    def __init__(self, subscriber: "Subscriber", stream: Stream) -> None:
        self.subscriber, self.stream = subscriber, stream
        self.nonce = secrets.token_hex(32)
        self.attach: Message | None = None
        self.items: list[Message] = []
        self.received_bytes = 0
        self.beats = 0
        self.farewell = self.over = False
        self._received = b""

    def received(self, data: bytes) -> None:
        self.received_bytes += len(data)
        *raw, self._received = (self._received + data).split(b"\0")
        for one in raw:
            self.subscriber.take(self, json.loads(one))
        self.subscriber.changed.set()

    def ended(self, why: str) -> None:
        self.over = True
        self.subscriber.changed.set()

    def answer(self, parameters: Message, **flags: bool) -> None:
        self.stream.send(json.dumps({"parameters": parameters, **flags}).encode() + b"\0")

    def ack(self, at: Message | None) -> None:
        self.answer({"cursor": at}, continues=True)


class Subscriber:
    """Listens, and does by itself what a sound subscriber does; each part of that can be put out of order.

    Attributes:
        callers: Every connection, in order.
        cursor: How far its application has come.
        acks: Whether it acknowledges what it gets; heartbeats are answered all the same.
        on_message: Takes the place of all of it, where set.
    """

    def __init__(self, credentials: Credentials) -> None:
        self.credentials = credentials
        self.id, self.secret = secrets.token_hex(16), secrets.token_hex(32)
        self.callers: list[Caller] = []
        self.changed = asyncio.Event()
        self.cursor: Message | None = None
        self.acks = True
        self.on_message: Callable[[Caller, Message], None] | None = None
        self.listener: Listener | None = None
        self.kind: Kind = "tcp"

    @property
    def caller(self) -> Caller:
        """The last connection."""
        return self.callers[-1]

    @property
    def items(self) -> list[Message]:
        """Every item of every connection."""
        return [item for caller in self.callers for item in caller.items]

    @property
    def sequences(self) -> list[int]:
        """Those of the events that came, in order of arrival."""
        return [item["at"]["sequence"] for item in self.items if item["kind"] == "entry"]

    def told(self, kind: str) -> list[Message]:
        """The events of a kind that came."""
        events = [item["event"] for item in self.items if item["kind"] == "entry"]
        return [event for event in events if event["type"] == f"io.relaunch.{kind}"]

    def accept(self, stream: Stream) -> Caller:
        self.callers.append(Caller(self, stream))
        self.changed.set()
        return self.caller

    def take(self, caller: Caller, message: Message) -> None:
        """Do what is asked."""
        if self.on_message is not None:
            self.on_message(caller, message)
        else:
            self.do(caller, message)

    def do(self, caller: Caller, message: Message) -> None:
        """What a sound subscriber does."""
        parameters = message["parameters"]
        match message["method"].removeprefix("io.relaunch.Subscriber."):
            case "Open":
                assert parameters == {"subscription": self.id}
                caller.answer({"nonce": caller.nonce})
            case "Attach":
                assert message["more"] is True
                expected = proof(self.secret, nonce=caller.nonce, subscription=self.id, source=parameters["source"],
                                 fingerprint=self.credentials.fingerprint)  # fmt: skip
                assert parameters["proof"] == expected
                caller.attach = parameters
                caller.ack(self.cursor)
            case "Deliver":
                assert message["oneway"] is True
                caller.items += parameters["items"]
                if self.acks:
                    self.cursor = parameters["items"][-1]["at"]
                    caller.ack(self.cursor)
            case "Beat":
                caller.beats += 1
                caller.ack(self.cursor)
            case "Farewell":
                caller.farewell = True
                caller.stream.close()

    def spec(self, **fields: Any) -> Message:
        """What it subscribes to; all events unless told otherwise."""
        assert self.listener is not None
        return {
            "id": self.id,
            "address": f"127.0.0.1:{self.listener.address.port}",
            "transport": self.kind,
            "fingerprint": self.credentials.fingerprint,
            "secret": self.secret,
            "kinds": ["all"],
            **fields,
        }

    async def subscribe(
        self, host: Host, since: int | None = None, since_at: float | None = None, **spec: Any
    ) -> Message:
        """Subscribe at a launcher, and begin where it says."""
        parameters = {"subscription": self.spec(**spec), "since": since, "since_at": since_at}
        answer = await ask(host, "Subscribe", parameters)
        self.cursor = self.cursor or answer["cursor"]
        return answer

    async def until(self, condition: Callable[[], Any], what: str = "") -> None:
        """Wait until what came makes it so."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not condition():
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            raise AssertionError(f"{what or condition}: not within {DEADLINE_S} s; {self.items[-3:]}") from None

    async def until_attached(self, callers: int = 1) -> None:
        """Wait until so many connections have been made, and the last of them has proved who it is."""
        await self.until(lambda: len(self.callers) >= callers and self.caller.attach, "a launcher attaches")


@asynccontextmanager
async def subscriber(kind: Kind = "tcp", address: str = "127.0.0.1:0") -> AsyncIterator[Subscriber]:
    """A subscriber that listens."""
    one = Subscriber(CREDENTIALS)
    one.kind = kind
    one.listener = await listen(kind, parse_address(address), one.credentials, one.accept)
    try:
        yield one
    finally:
        one.listener.close()
        await _gone(one.listener)


async def _gone(listener: Listener) -> None:
    """Give what was hung up the time to go, which nothing announces: the loop ends soon, and would leave it open."""
    for _ in range(1_000):
        await asyncio.sleep(0.002)
        if not getattr(listener, "_streams", ()) and not getattr(listener, "_opening", ()):
            break
    await asyncio.sleep(0.01)


async def ask(host: Host, method: str, parameters: Message | None = None) -> Message:
    """One call to a launcher, which may take its time."""
    return await asyncio.to_thread(call, host.socket, method, parameters)


async def subscriptions(host: Host) -> list[Message]:
    """Those that the launcher lists."""
    found: list[Message] = (await ask(host, "Subscriptions"))["subscriptions"]
    return found
