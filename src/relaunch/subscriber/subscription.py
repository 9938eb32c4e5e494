"""One application's subscription to any number of launchers: an asynchronous iterator of events.

Joins the port, the launchers, the watch over them, what waits for the application, and where all that is kept. Refuses
to know how a launcher is told of the subscription: what it is to be sent is given by ``request``, what it answered is
taken by ``registered``.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from relaunch.core.delivery import Cursor
from relaunch.core.liveness import SUSPECT_AFTER_S, SUSPECT_AFTER_S_MAX, SUSPECT_AFTER_S_MIN, Run, Terms
from relaunch.errors import BadSpec
from relaunch.event import Event
from relaunch.subscriber.account import Account, Memory, Store, new_account
from relaunch.subscriber.beliefs import Beliefs
from relaunch.subscriber.handover import Handover, Lane, Waiting
from relaunch.subscriber.listener import Listener
from relaunch.subscriber.source import Source
from relaunch.subscriber.watch import LOST_FACTOR, Belief, Watch
from relaunch.subscription import Filter, SubscriptionSpec, check_name
from relaunch.transport.address import Address
from relaunch.transport.stream import Kind

# An application that never waits still lets launchers be heard and answered that often.
TURN_S = 0.01


class Subscription:
    """Events of any number of launchers, one at a time. Made by ``Subscription.open``.

    Taking the next event acknowledges the one before; so does ``ack``. One task takes events.
    """

    def __init__(
        self,
        store: Store,
        *,
        transport: Kind,
        name: str | None,
        patterns: Sequence[str],
        kinds: Sequence[str],
        terms: Terms,
    ) -> None:
        self._store = store
        self._name = name
        self._patterns, self._kinds = tuple(patterns), tuple(kinds)
        self._wanted = Filter(patterns, kinds)
        self._terms = terms
        self._transport = transport
        self._handover = Handover()
        self._change = asyncio.Event()
        self._watch = Watch(terms, self._believe, self._change.set)
        self._sources: dict[str, Source] = {}
        self._by_id: dict[str, Source] = {}
        self._listener = Listener(store.credentials, self._by_id.get)
        self._beliefs = Beliefs()
        self._in_hand: tuple[Lane, Waiting] | None = None
        self._given = False
        self._turn_at = 0.0
        self._taking = False
        self._closed = False

    @classmethod
    async def open(
        cls,
        *,
        address: Address,
        transport: Kind = "quic",
        patterns: Sequence[str] = (),
        kinds: Sequence[str] = (),
        name: str | None = None,
        suspect_after_s: float = SUSPECT_AFTER_S,
    ) -> "Subscription":
        """Listen, and go on where a subscription of that name has ended.

        Args:
            address: Where to listen; an empty host is every interface, port 0 any that is free.
            transport: ``quic`` or ``tcp``.
            patterns: Labels or globs over them; none at all chooses every label.
            kinds: Kinds of events, see ``relaunch.subscription.Filter``.
            name: Of a subscription that outlives its subscriber; None where it does not.
            suspect_after_s: For how long a launcher may be silent.

        Raises:
            BadPattern: A pattern is malformed.
            BadSpec: The name or ``suspect_after_s`` is out of range.
            Refused: The subscription is in use, or cannot be kept, or the address cannot be listened on.
        """
        if not SUSPECT_AFTER_S_MIN <= suspect_after_s <= SUSPECT_AFTER_S_MAX:
            raise BadSpec(f"suspect_after_s must be from {SUSPECT_AFTER_S_MIN} to {SUSPECT_AFTER_S_MAX} seconds")
        Filter(patterns, kinds)
        store: Store = await (asyncio.to_thread(Memory) if name is None else _open_file(check_name(name)))
        terms = Terms(suspect_after_s, suspect_after_s * LOST_FACTOR)
        try:
            subscription = cls(store, transport=transport, name=name, patterns=patterns, kinds=kinds, terms=terms)
            await subscription._listener.listen(transport, address)
        except BaseException:
            await store.close()
            raise
        return subscription

    async def __aenter__(self) -> Self:
        """The subscription itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        await self.close()

    # Launchers

    @property
    def address(self) -> Address:
        """Where it listens; the port is the real one."""
        return self._listener.address

    @property
    def refused(self) -> Mapping[str, int]:
        """How many callers were turned away or hung up on, by reason."""
        return self._listener.refused

    def request(self, key: str) -> SubscriptionSpec:
        """What to send to the launcher that is called ``key``: the same id and secret each time, to nobody else.

        Raises:
            Refused: It cannot be written down.
        """
        account = self._sources[key].account if key in self._sources else self._add(key)
        return SubscriptionSpec(
            id=account.id,
            name=self._name,
            address=str(self.address),
            transport=self._transport,
            fingerprint=self._listener.fingerprint,
            secret=account.secret,
            patterns=self._patterns,
            kinds=self._kinds,
            beat_s=self._terms.beat_s,
        )

    def registered(self, key: str, *, source: str, boot_id: str, run: int, cursor: Cursor | None) -> None:
        """What the launcher called ``key`` answered: from now on its silence is noticed.

        Args:
            key: As it was given to ``request``.
            source: Whose events it sends.
            boot_id: Of its host.
            run: Which run of the launcher it is.
            cursor: Where to begin; it counts where nothing of that launcher has been handled yet.

        Raises:
            Refused: It cannot be written down.
        """
        self._sources[key].registered(source=source, run=Run(boot_id, run), cursor=cursor)

    def ids(self) -> dict[str, str]:
        """The id under which each launcher knows this subscription, by key."""
        return {key: source.account.id for key, source in self._sources.items()}

    def is_well(self, key: str) -> bool:
        """Whether that launcher is connected and believed to be up; another may have forgotten the subscription."""
        source = self._sources.get(key)
        return source is not None and source.is_connected and self._watch.is_up(key)

    def run(self, key: str) -> Run | None:
        """Which run of a launcher was met last; None before the first."""
        return self._watch.run(key)

    def gone(self, key: str, run: Run) -> None:
        """Somebody who knows has said that this run of a launcher has ended."""
        self._watch.gone(key, run)

    def forget(self, key: str) -> None:
        """Hear that launcher no more, and say nothing of its silence. What it has told already is still handed over."""
        source = self._sources.pop(key, None)
        if source is not None:
            del self._by_id[source.account.id]
            self._watch.forget(key)
            source.hang_up()

    async def changed(self) -> None:
        """Until ``is_well`` may say something else than when this last returned. One task waits for it."""
        await self._change.wait()
        self._change.clear()

    def _add(self, key: str) -> Account:
        account = self._store.accounts.get(key)
        if account is None:
            account = new_account(key)
            self._store.add(account)
        source = Source(
            account,
            store=self._store,
            wanted=self._wanted,
            handover=self._handover,
            watch=self._watch,
            changed=self._change.set,
        )
        self._sources[key] = self._by_id[account.id] = source
        self._change.set()
        return account

    def _believe(self, key: str, belief: Belief) -> None:
        source = self._sources[key]
        event = self._beliefs.event(source.account.source or "", belief)
        if self._wanted(belief.kind, None):
            source.believe(event)

    # The application

    def __aiter__(self) -> Self:
        """The subscription itself."""
        return self

    async def __anext__(self) -> Event:
        """The next event; the one before is acknowledged.

        Raises:
            Refused: How far the application has come cannot be put down. Nothing is lost; it may be tried again.
        """
        if self._taking:
            raise RuntimeError("another task waits for the next event already")
        self._taking = True
        try:
            await self.ack()
            if time.monotonic() - self._turn_at > TURN_S:
                self._turn_at = time.monotonic()
                await asyncio.sleep(0)
            while not self._closed:
                self._check()
                if self._in_hand is None:
                    self._in_hand = self._handover.take()
                    if self._in_hand is not None:
                        self._in_hand[0].origin.given(self._in_hand[1])
                        self._check()
                if self._in_hand is None or self._in_hand[0].origin.is_blocked:
                    await self._wait()
                    continue
                self._given, event = True, self._in_hand[1].event
                if event is not None:
                    return event
                await self.ack()
        finally:
            self._taking = False
        raise StopAsyncIteration

    async def ack(self) -> None:
        """The application has handled what it was given: that is put down, and told to the launcher.

        Raises:
            Refused: It cannot be put down. Nothing is lost; it may be tried again.
        """
        if self._closed:
            return
        self._check()
        # One that was taken, and could not be put down as such, has not been seen by the application yet.
        if self._in_hand is not None and self._given:
            origin = self._in_hand[0].origin
            origin.done()
            while origin.is_blocked and not self._closed:
                self._check()
                await self._wait()
            self._in_hand, self._given = None, False

    async def _wait(self) -> None:
        await self._handover.wait()
        self._turn_at = time.monotonic()

    def _check(self) -> None:
        for origin in list(self._handover.failed):
            origin.retry()

    async def close(self) -> None:
        """An orderly end. What the application has in hand and has not acknowledged comes again, in the next life."""
        if self._closed:
            return
        self._closed = True
        self._listener.close()
        self._watch.close()
        self._handover.wake()
        await self._listener.closed()
        await self._store.close()


async def _open_file(name: str) -> Store:
    from relaunch.subscriber.store import FileStore  # who has no name needs no SQLite

    return await asyncio.to_thread(FileStore.open, name)
