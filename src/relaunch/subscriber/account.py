"""What a subscription has with one launcher, where all of it is kept, and keeping it in memory only.

Knows how ids and secrets are chosen. Refuses to know what is received: ``core.receiving`` does.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from relaunch.core.delivery import Cursor
from relaunch.transport.certificate import Credentials, make_credentials


@dataclass(slots=True)
class Account:
    """One launcher's part of a subscription.

    Attributes:
        key: What the user calls its host.
        id: Under which it is subscribed.
        secret: 32 bytes in hexadecimal; told to that launcher only.
        source: Whose events these are, None until the launcher has said so.
        cursor: How far the application has come, None where it has nothing.
        in_doubt: Whether a life before this one was killed with an event in hand, and may have handled it.
    """

    key: str
    id: str
    secret: str
    source: str | None = None
    cursor: Cursor | None = None
    in_doubt: bool = False


def new_account(key: str) -> Account:
    """An account that nobody else has."""
    return Account(key, secrets.token_hex(16), secrets.token_hex(32))


class Store(Protocol):
    """Where a subscription is kept. What a call has written survives the death of the process once it has returned."""

    @property
    def durable(self) -> bool:
        """Whether it outlives the subscriber."""

    @property
    def credentials(self) -> Credentials:
        """What the subscriber is known by; the same in each life."""

    @property
    def accounts(self) -> Mapping[str, Account]:
        """By key, as found when this life began."""

    def add(self, account: Account) -> None:
        """Write down a launcher's account, new or changed.

        Raises:
            Refused: It cannot be written.
        """

    def keep(self, account: Account, free: Callable[[], None]) -> bool:
        """Write down how far the application has come.

        Args:
            account: Its ``cursor`` is written.
            free: Called later, where it cannot be done at once.

        Returns:
            Whether it is done; else it is to be tried again when ``free`` is called.

        Raises:
            Refused: It cannot be written.
        """

    def hold(self, account: Account, free: Callable[[], None]) -> bool:
        """Write down that the application is about to have an event in hand; ``keep`` takes that back. See ``keep``.

        Raises:
            Refused: It cannot be written.
        """

    async def close(self) -> None:
        """The end. What is in hand stays in doubt."""


class Memory:
    """Keeps a subscription that ends with its subscriber."""

    durable = False

    def __init__(self) -> None:
        self.credentials = make_credentials()
        self.accounts: dict[str, Account] = {}

    def add(self, account: Account) -> None:
        """See ``Store``."""
        self.accounts[account.key] = account

    def keep(self, account: Account, free: Callable[[], None]) -> bool:
        """See ``Store``."""
        return True

    def hold(self, account: Account, free: Callable[[], None]) -> bool:
        """See ``Store``."""
        return True

    async def close(self) -> None:
        """See ``Store``."""
