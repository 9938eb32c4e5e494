"""A launcher's side of a subscription, played by a test: says anything, and sees what the subscriber answers.

Knows the calls as they travel. Refuses to know what a launcher ought to say.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

from tests.system import transport_ends

from relaunch.core.delivery import Cursor
from relaunch.core.delivery_wire import proof
from relaunch.subscriber.subscription import Subscription
from relaunch.subscription import SubscriptionSpec
from relaunch.transport.address import Address, parse_address
from relaunch.transport.dial import dial
from relaunch.transport.stream import Kind, Stream

Message = dict[str, Any]
INTERFACE = "io.relaunch.Subscriber."
SOURCE = "//host/relaunch/1000"
EPOCH = "e1"
DEADLINE_S = 20.0


_CALLED: list["Played"] = []


class HungUp(AssertionError):
    """The subscriber has ended the connection."""


class Played:
    """One connection to a subscriber."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.over = False
        self._received = b""
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue()

    def received(self, data: bytes) -> None:
        *raw, self._received = (self._received + data).split(b"\0")
        for one in raw:
            self._messages.put_nowait(json.loads(one))

    def ended(self, why: str) -> None:
        self.over = True
        self._messages.put_nowait(None)

    def send(self, method: str, parameters: Message | None = None, **flags: bool) -> None:
        self.stream.send(encode(method, parameters, **flags))

    async def reply(self) -> Message:
        """The next message, whatever it says."""
        async with asyncio.timeout(DEADLINE_S):
            message = await self._messages.get()
        if message is None:
            raise HungUp
        return message

    async def hung_up(self) -> bool:
        """Whether the subscriber hangs up, whatever it says before."""
        try:
            while True:
                await self.reply()
        except HungUp:
            return True

    async def acked(self, sequence: int | None) -> int:
        """Wait for an acknowledgement up to there; gives how many came."""
        count = 0
        while True:
            message = await self.reply()
            assert message["continues"] is True
            count += 1
            if sequence_of(message) == sequence:
                return count

    # What a launcher says

    async def open(self, subscription: str) -> str:
        self.send("Open", {"subscription": subscription})
        nonce: str = (await self.reply())["parameters"]["nonce"]
        return nonce

    async def attach(self, spec: SubscriptionSpec, nonce: str | None = None, **said: Any) -> Message:
        """Open, attach, and give what is answered; what is to be otherwise is given by name."""
        nonce = await self.open(said.pop("subscription", spec.id)) if nonce is None else nonce
        self.send("Attach", greeting(spec, nonce, **said), more=True)
        return await self.reply()

    def deliver(self, *items: Message) -> None:
        self.send("Deliver", {"items": list(items)}, oneway=True)

    def beat(self, sequence: int = 0, bookmark: Message | None = None) -> None:
        self.send("Beat", {"sequence": sequence, "bookmark": bookmark}, oneway=True)

    def farewell(self) -> None:
        self.send("Farewell", oneway=True)


def encode(method: str, parameters: Message | None = None, **flags: bool) -> bytes:
    """One call as it goes on the wire."""
    return json.dumps({"method": INTERFACE + method, "parameters": parameters or {}, **flags}).encode() + b"\0"


def greeting(
    spec: SubscriptionSpec, nonce: str, *, source: str = SOURCE, boot_id: str = "b1", run: int = 1, **said: Any
) -> Message:
    """What Attach says, with its proof."""
    secret, fingerprint = said.pop("secret", spec.secret), said.pop("fingerprint", spec.fingerprint)
    shown = proof(secret, nonce=nonce, subscription=spec.id, source=source, fingerprint=fingerprint)
    return {"proof": shown, "source": source, "boot_id": boot_id, "run": run, "version": "0", **said}


def sequence_of(message: Message) -> int | None:
    """The place that an answer names."""
    cursor: Message | None = message["parameters"]["cursor"]
    return None if cursor is None else int(cursor["sequence"])


def at(sequence: int, epoch: str = EPOCH) -> Message:
    return {"epoch": epoch, "sequence": sequence}


def event(sequence: int, epoch: str = EPOCH, **said: Any) -> Message:
    """A CloudEvent."""
    return {
        "specversion": "1.0",
        "id": f"{epoch}/{sequence}",
        "source": SOURCE,
        "type": "io.relaunch.job.exited",
        "subject": f"o{sequence}",
        "time": "2026-01-02T03:04:05.000006Z",
        "datacontenttype": "application/json",
        "data": {"label": f"o{sequence}"},
        **said,
    }


def entry(sequence: int, previous: int | None = None, epoch: str = EPOCH, **said: Any) -> Message:
    return {
        "kind": "entry",
        "at": at(sequence, epoch),
        "previous": sequence - 1 if previous is None else previous,
        "event": event(sequence, epoch, **said),
    }


def snapshot(sequence: int, jobs: Sequence[Message] = (), epoch: str = EPOCH) -> Message:
    return {"kind": "snapshot", "at": at(sequence, epoch), "jobs": list(jobs)}


async def call(spec: SubscriptionSpec) -> Played:
    """A connection to the subscriber that a spec names, without a word said."""
    ends: list[Played] = []

    def made(stream: Stream) -> Played:
        ends.append(Played(stream))
        return ends[0]

    kind: Kind = "quic" if spec.transport == "quic" else "tcp"
    await dial(kind, parse_address(spec.address), spec.fingerprint, made)
    _CALLED.append(ends[0])
    return ends[0]


def enact(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run it, hang up whatever it has called, and fail if anything stays open or the loop complains."""

    async def whole() -> None:
        try:
            await story()
        finally:
            while _CALLED:
                _CALLED.pop().stream.close()

    transport_ends.run(whole)


async def attached(spec: SubscriptionSpec, **said: Any) -> Played:
    """A connection that has been welcomed; ``welcomed_at`` is in the first answer."""
    played = await call(spec)
    message = await played.attach(spec, **said)
    assert message["continues"] is True
    return played


@asynccontextmanager
async def subscribed(
    since: int | None = 0, *, transport: Literal["quic", "tcp"] = "tcp", run: int = 1, key: str = "host", **asked: Any
) -> AsyncIterator[tuple[Subscription, SubscriptionSpec]]:
    """A subscription with one launcher, which has registered it and is yet to call."""
    address = Address("127.0.0.1", 0)
    async with await Subscription.open(address=address, transport=transport, **asked) as subscription:
        spec = subscription.request(key)
        register(subscription, since, run=run, key=key)
        yield subscription, spec


def register(
    subscription: Subscription, since: int | None = 0, *, run: int = 1, key: str = "host", **said: Any
) -> None:
    cursor = None if since is None else Cursor(EPOCH, since)
    said = {"source": SOURCE, "boot_id": "b1", **said}
    subscription.registered(key, run=run, cursor=cursor, **said)


async def taken(subscription: Subscription, timeout_s: float = DEADLINE_S) -> Any:
    """The next event."""
    async with asyncio.timeout(timeout_s):
        return await anext(subscription)


async def eventually(holds: Any, what: str, timeout_s: float = DEADLINE_S) -> None:
    """Wait until it holds."""
    give_up_at = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < give_up_at, what
        await asyncio.sleep(0.005)
