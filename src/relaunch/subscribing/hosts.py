"""What is said of hosts that cannot be dealt with, and which of them are one and the same.

Knows that a person wants to read of a thing once, and of many at once in one line. Refuses to know what is done.
"""

import asyncio
import logging
import random
from collections.abc import Sequence

from relaunch.errors import (
    HostKeyRefused,
    NotAuthenticated,
    NotInstalled,
    OtherVersion,
    ProtocolBroken,
    RelaunchError,
)

TOGETHER_WITHIN_S = 0.3
PATIENT_S = 60.0
"""Before the next try where a person has to do something first; hosts may count such tries against the user."""
_PATIENT = (HostKeyRefused, NotAuthenticated, NotInstalled, OtherVersion, ProtocolBroken)
_NAMED_MAX = 8
log = logging.getLogger("relaunch.subscribing")


class Pace:
    """How long to wait before the next try: longer each time, at random so that hosts do not come all at once.

    Args:
        shortest_s: Before the first.
        longest_s: Before any.
    """

    def __init__(self, shortest_s: float, longest_s: float) -> None:
        self._shortest_s, self._longest_s = shortest_s, longest_s
        self._limit_s = shortest_s

    def next_s(self, after: type[RelaunchError] | None = None) -> float:
        """The next wait.

        Args:
            after: What the try before ended with.
        """
        limit_s, self._limit_s = self._limit_s, min(2 * self._limit_s, self._longest_s)
        if after is not None and issubclass(after, _PATIENT):
            limit_s = PATIENT_S
        return random.uniform(limit_s / 2, limit_s)  # noqa: S311 - spreads tries, hides nothing

    def reset(self) -> None:
        """It went well."""
        self._limit_s = self._shortest_s


class Notices:
    """Says what there is to say of hosts; what comes of many at once is one line."""

    def __init__(self) -> None:
        self._failed: dict[str, dict[str, str]] = {}
        self._well: dict[str, dict[str, None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def failed(self, host: str, error: RelaunchError) -> None:
        """A host cannot be dealt with; the line of the error names it."""
        self._failed.setdefault(type(error).__name__, {})[host] = error.message
        self._soon()

    def well(self, host: str, what: str) -> None:
        """What was said of it before is so no longer."""
        self._well.setdefault(what, {})[host] = None
        self._soon()

    def close(self) -> None:
        """Say what is left to say."""
        if self._timer is not None:
            self._timer.cancel()
            self._say()

    def _soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TOGETHER_WITHIN_S, self._say)

    def _say(self) -> None:
        self._timer = None
        failed, self._failed = self._failed, {}
        for messages in failed.values():
            first = next(iter(messages.values()))
            if len(messages) == 1:
                log.warning("%s", first)
            else:
                log.warning("%d hosts: %s; the first of them: %s", len(messages), named(list(messages)), first)
        well, self._well = self._well, {}
        for what, hosts in well.items():
            many = f"{len(hosts)} hosts: " if len(hosts) > 1 else ""
            log.info("%s%s: %s", many, named(list(hosts)), what)


def named(hosts: Sequence[str]) -> str:
    """Hosts for a person; of very many, some."""
    more = f" ... and {len(hosts) - _NAMED_MAX} more" if len(hosts) > _NAMED_MAX else ""
    return ", ".join(hosts[:_NAMED_MAX]) + more


class Twins:
    """Which hosts are one launcher, by whose events they tell of and which journal these stand in."""

    def __init__(self) -> None:
        self._hosts: dict[tuple[str, str], str] = {}

    def first(self, host: str, source: str, epoch: str) -> str:
        """The host under which this launcher was met first."""
        return self._hosts.setdefault((source, epoch), host)

    def forget(self, host: str) -> None:
        """That host is no longer dealt with."""
        self._hosts = {launcher: first for launcher, first in self._hosts.items() if first != host}
